use std::collections::BTreeSet;

use super::*;

const VALUES: Values<'_> =
    Values { sender: "Bob {name}", name: "Alice", host: "s.example", until: "UNTIL", length: "LENGTH" };

fn others() -> impl Iterator<Item = Language> {
    Language::ALL.into_iter().filter(|language| *language != Language::En)
}

/// The names in braces, in a text.
fn holes(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).map(|piece| piece.split_once('}').unwrap().0).collect()
}

#[test]
fn a_tag_leads_to_its_language_or_to_english() {
    for (tag, language) in [
        ("de", Language::De),
        ("de-AT", Language::De),
        ("DE_ch", Language::De),
        ("zh-Hans", Language::Zh),
        ("zh-Hant-TW", Language::Zh),
        ("pt-BR", Language::Pt),
        ("ar-EG", Language::Ar),
        ("en-GB", Language::En),
        ("sv", Language::En),
        ("deutsch", Language::En),
        ("", Language::En),
        ("-", Language::En),
    ] {
        assert_eq!(Language::of_tag(Some(tag)), language, "{tag}");
    }
    assert_eq!(Language::of_tag(None), Language::En);
}

#[test]
fn every_language_says_everything_in_its_own_words_with_the_same_values() {
    let english = Language::En.texts().all();
    for language in others() {
        for ((name, text), (_, in_english)) in language.texts().all().into_iter().zip(&english) {
            assert_eq!(holes(text), holes(in_english), "{language:?} {name}");
            assert!(!text.is_empty() && text != *in_english, "{language:?} {name} is not translated");
            assert_eq!(text.matches(['{', '}']).count() % 2, 0, "{language:?} {name}");
            assert!(!text.contains("  ") && text.trim() == text, "{language:?} {name} has stray spaces");
        }
    }
}

#[test]
fn what_is_not_latin_is_written_in_its_own_script() {
    let has = |text: &str, range: std::ops::RangeInclusive<char>| text.chars().any(|c| range.contains(&c));
    for (name, text) in Language::Ja.texts().all().into_iter().filter(|(name, _)| *name != "hello_named") {
        assert!(has(text, '\u{3040}'..='\u{30ff}'), "{name}: {text}");
    }
    for (name, text) in Language::Zh.texts().all() {
        assert!(has(text, '\u{4e00}'..='\u{9fff}') && !has(text, '\u{3040}'..='\u{30ff}'), "{name}: {text}");
    }
    for (name, text) in Language::Ar.texts().all() {
        let (latin, arabic) = (has(&fill(text, &[]), 'a'..='z'), has(text, '\u{621}'..='\u{64a}'));
        assert!(arabic && !latin, "{name}: {text}");
    }
    // Words of another language that would stay behind in a copy.
    for language in others() {
        for (name, text) in language.texts().all() {
            let words = fill(text, &[]).to_lowercase();
            let english = [" the ", " this ", " your ", "genuine", "somebody", "credential "];
            assert!(!english.iter().any(|word| words.contains(word)), "{language:?} {name}: {text}");
        }
    }
}

#[test]
fn dates_are_as_people_write_them() {
    let at = Timestamp::parse_rfc3339("2026-11-02T06:04:59.999Z").unwrap();
    for (language, date) in [
        (Language::En, "2 November 2026, 06:04 UTC"),
        (Language::De, "2. November 2026, 06:04 Uhr (UTC)"),
        (Language::Fr, "2 novembre 2026 à 06\u{a0}h\u{a0}04 (UTC)"),
        (Language::Es, "2 de noviembre de 2026, 06:04 h (UTC)"),
        (Language::It, "2 novembre 2026, ore 06:04 (UTC)"),
        (Language::Pt, "2 de novembro de 2026, 06:04 (UTC)"),
        (Language::Nl, "2 november 2026, 06:04 uur (UTC)"),
        (Language::Pl, "2 listopada 2026 r., godz. 06:04 (UTC)"),
        (Language::Ja, "2026年11月2日 06:04（UTC）"),
        (Language::Zh, "2026年11月2日 06:04（UTC）"),
        (Language::Ar, "2 نوفمبر 2026، الساعة 06:04 (UTC)"),
    ] {
        assert_eq!(language.date(at), date);
    }
    let first = Timestamp::parse_rfc3339("2026-08-01T00:00:00Z").unwrap();
    assert_eq!(Language::Fr.date(first), "1er août 2026 à 00\u{a0}h\u{a0}00 (UTC)");
    for language in Language::ALL {
        let months = language.texts().months.iter().collect::<BTreeSet<_>>();
        assert!(months.len() == 12 && language.date(first).contains("UTC"), "{language:?}");
        for far in [i64::MIN, i64::MAX] {
            assert!(!language.date(Timestamp::from_millis(far)).is_empty());
        }
    }
}

#[test]
fn lengths_read_as_people_say_them() {
    let cases = [
        ("1h", "1 hour"),
        ("90m", "1 hour 30 minutes"),
        ("45s", "45 seconds"),
        ("26h", "1 day 2 hours"),
        ("1h20s", "1 hour"),
        ("61s", "1 minute 1 second"),
        ("1h1m1s", "1 hour 1 minute"),
        ("10d", "10 days"),
        ("999ms", "less than a second"),
    ];
    for (span, words) in cases {
        assert_eq!(Language::En.length(Span::parse(span).unwrap()), words, "{span}");
    }
}

#[test]
fn numbers_have_the_form_that_goes_with_them() {
    for (language, span, words) in [
        (Language::De, "90m", "1 Stunde 30 Minuten"),
        (Language::Fr, "90m", "1 heure et 30 minutes"),
        (Language::Es, "25h", "1 día y 1 hora"),
        (Language::It, "2h", "2 ore"),
        (Language::Pt, "61s", "1 minuto e 1 segundo"),
        (Language::Nl, "3h", "3 uur"),
        (Language::Pl, "1h", "1 godzinę"),
        (Language::Pl, "4h", "4 godziny"),
        (Language::Pl, "5h12m", "5 godzin i 12 minut"),
        (Language::Pl, "22m", "22 minuty"),
        (Language::Pl, "112m", "1 godzinę i 52 minuty"),
        (Language::Ja, "90m", "1時間30分"),
        (Language::Zh, "26h", "1天2小时"),
        (Language::Ar, "1h", "ساعة واحدة"),
        (Language::Ar, "2h", "ساعتين"),
        (Language::Ar, "3h", "3 ساعات"),
        (Language::Ar, "25h30m", "يوم واحد وساعة واحدة"),
        (Language::Ar, "11d", "11 يومًا"),
        (Language::Ar, "100d", "100 يوم"),
        (Language::Ar, "103d", "103 أيام"),
    ] {
        assert_eq!(language.length(Span::parse(span).unwrap()), words, "{language:?} {span}");
    }
    for language in others() {
        assert_ne!(language.length(Span::from_millis(1)), Language::En.length(Span::from_millis(1)), "{language:?}");
        for n in 0..400 {
            assert!(!language.length(Span::from_secs(n * 3599)).contains(['{', '}']), "{language:?}");
        }
    }
}

#[test]
fn each_kind_of_mail_has_its_words_filled_in_once() {
    for language in Language::ALL {
        let (link, code) = (language.words("link", &VALUES), language.words("code", &VALUES));
        for key in ["hello", "subject", "intro", "until", "genuine", "genuine_question", "unexpected"] {
            assert!(link.contains_key(key) && code.contains_key(key), "{language:?} {key}");
        }
        assert!(link.contains_key("passphrase") && !code.contains_key("passphrase"), "{language:?}");
        assert!(!link.keys().any(|key| key.starts_with("code_") || key.starts_with("link_")));
        // What a value holds is no place for another one.
        assert!(link["subject"].contains("Bob {name}") && link["hello"].contains("Alice"), "{link:?}");
        let nobody = language.words("link", &Values { name: "", ..VALUES });
        assert!(!nobody["hello"].contains("Alice") && !nobody["hello"].is_empty());
    }
}

#[test]
fn names_and_hosts_stay_whole_between_words_that_run_the_other_way() {
    let words = Language::Ar.words("link", &VALUES);
    assert!(words["genuine"].contains("\u{2068}s.example\u{2069}"), "{words:?}");
    assert!(
        words["subject"].contains("\u{2068}Bob {name}\u{2069}") && words["hello"].contains("\u{2068}Alice\u{2069}")
    );
    assert_eq!(Language::ALL.iter().filter(|language| language.direction() == "rtl").count(), 1);
    assert!(!Language::En.words("link", &VALUES)["genuine"].contains('\u{2068}'));
}

#[test]
fn what_templates_can_name_is_described() {
    let described = include_str!("../../../../docs/operations.md");
    for kind in ["link", "code"] {
        for key in Language::En.words(kind, &VALUES).into_keys() {
            assert!(described.contains(&format!("`words.{key}`")), "docs/operations.md lacks words.{key}");
        }
    }
}
