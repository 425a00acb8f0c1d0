use proptest::prelude::*;

use super::*;

const LEAST: &str = "publicUrl: https://links.example.com\noutbox: out\n";

fn refuse(text: &str) -> String {
    Config::parse(text, Path::new("c.yaml")).unwrap_err().to_string()
}

#[test]
fn the_least_configuration_has_defaults() {
    let config = Config::parse(LEAST, Path::new("c.yaml")).unwrap();
    assert_eq!(config.mail.hold, Span::from_secs(900));
    assert_eq!(config.mail_domain(), "links.example.com");
    let here = Config::parse("publicUrl: http://[::1]:8080\noutbox: out\n", Path::new("c.yaml")).unwrap();
    assert_eq!(here.mail_domain(), "localhost");
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest_name() {
    assert!(refuse(&format!("{LEAST}trustedProxys: []\n")).contains("Did you mean `trustedProxies`?"));
    assert!(refuse(&format!("{LEAST}log: {{levle: info}}\n")).contains("Did you mean `level`?"));
    assert!(refuse(&format!("{LEAST}page: {{colour: '#000000'}}\n")).contains("Did you mean `color`?"));
}

#[test]
fn each_bad_value_names_its_field() {
    for (text, field) in [
        ("publicUrl: http://links.example.com\noutbox: o\n", "publicUrl"),
        ("publicUrl: http://127.0.0.1.links.example.com\noutbox: o\n", "publicUrl"),
        ("publicUrl: http://localhost:80@links.example.com\noutbox: o\n", "publicUrl"),
        ("publicUrl: https://l.example/\noutbox: o\n", "publicUrl"),
        ("publicUrl: https://l.example\n", "smtp"),
        ("publicUrl: https://l.example\noutbox: o\nsmtp: {host: m, from: a@b}\n", "outbox"),
        ("publicUrl: https://l.example\nsmtp: {host: m, from: a@b, username: u}\n", "smtp.passwordFile"),
        ("publicUrl: https://l.example\noutbox: o\nmail: {hold: 2h}\n", "mail.hold"),
        ("publicUrl: https://l.example\noutbox: o\nlease: 1s\n", "lease"),
        ("publicUrl: https://l.example\noutbox: o\nworkers: 0\n", "workers"),
        ("publicUrl: https://10.0.0.1\noutbox: o\nselfCheck: {connectTo: \"127.0.0.1:1\"}\n", "selfCheck.connectTo"),
        ("publicUrl: https://l.example\noutbox: o\nstore: {maxBytes: 524289}\n", "store.maxBytes"),
        ("publicUrl: https://l.example\noutbox: o\nlog: {level: loud}\n", "log.level"),
        ("publicUrl: https://l.example\noutbox: o\npage: {color: red}\n", "page: color"),
    ] {
        assert!(refuse(text).starts_with(field), "{text}: {}", refuse(text));
    }
    assert!(refuse("publicUrl: https://l.example\noutbox: o\nmail: {hold: soon}\n").contains("15m"));
}

proptest! {
    #[test]
    fn junk_is_refused_without_a_panic(text in "\\PC{0,200}") {
        let _config = Config::parse(&text, Path::new("c.yaml"));
    }
}
