//! Polish, in impersonal forms with „proszę”, so that nobody's gender is guessed. Names stand in the nominative only; lengths in
//! the accusative, after „przez”; dates in the genitive, after „do”.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Dzień dobry,",
    hello_named: "Dzień dobry, {name},",
    genuine_question: "Czy ta wiadomość jest prawdziwa?",
    unexpected_question: "Niespodziewana wiadomość?",

    link_subject: "Dane dostępowe (nadawca: {sender})",
    link_intro: "{sender} przesyła dane dostępowe. Nie ma ich w tej wiadomości. Ten link otwiera je tylko raz:",
    link_button: "Otwórz dane dostępowe",
    link_code: "Kod otwarcia:",
    link_until: "Link działa do {until}.",
    link_works_for: "Po otwarciu dane dostępowe działają przez {length}. Potem zostaną zmienione.",
    link_ready: "Nic nie zostanie pokazane przed wpisaniem tego, o co poprosi strona. Proszę otworzyć link wtedy, gdy można od razu bezpiecznie zapisać to, co się pojawi.",
    link_passphrase: "Strona poprosi też o hasło. Nie ma go w tej wiadomości: {sender} przekazuje je inną drogą.",
    link_email_code: "Strona poprosi też o kod jednorazowy. Zostanie wysłany na ten adres, gdy poprosi się o niego na stronie.",
    link_sign_in: "Strona poprosi też o zalogowanie się na konto z tym adresem. Zanim do niego dojdzie, wskaże dostawcę konta.",
    link_genuine: "Link prowadzi do {host} i nigdzie indziej. Jeśli przeglądarka pokazuje inną nazwę, proszę zamknąć stronę. Nikt nigdy nie poprosi o podanie linku ani kodu. W razie wątpliwości proszę zapytać nadawcę ({sender}) znaną już drogą, a nie odpowiadając na tę wiadomość.",
    link_unexpected: "Proszę otworzyć link i wybrać „To nie było przeznaczone dla mnie”: dane dostępowe zostaną wycofane, a nadawca otrzyma powiadomienie. Proszę nie przekazywać tej wiadomości dalej.",

    code_subject: "Kod do danych dostępowych (nadawca: {sender})",
    code_intro: "Ktoś, kto ma link od nadawcy ({sender}), chce otworzyć dane dostępowe. Jeśli to Pan lub Pani, proszę wpisać na stronie ten kod:",
    code_until: "Kod jest ważny przez {length}, do {until}.",
    code_genuine: "Proszę wpisać go na stronie {host} i nigdzie indziej. Nikt nigdy nie poprosi o niego w e-mailu, na czacie ani przez telefon.",
    code_unexpected: "Ktoś inny ma Pana lub Pani link. Proszę nikomu nie podawać kodu i zawiadomić nadawcę ({sender}) znaną już drogą.",

    months: [
        "stycznia",
        "lutego",
        "marca",
        "kwietnia",
        "maja",
        "czerwca",
        "lipca",
        "sierpnia",
        "września",
        "października",
        "listopada",
        "grudnia",
    ],
    first: "1",
    date: "{day} {month} {year} r., godz. {hour}:{minute} (UTC)",
    lengths: Lengths {
        days: &["{n} dzień", "{n} dni"],
        hours: &["{n} godzinę", "{n} godziny", "{n} godzin"],
        minutes: &["{n} minutę", "{n} minuty", "{n} minut"],
        seconds: &["{n} sekundę", "{n} sekundy", "{n} sekund"],
        and: " i ",
        none: "mniej niż sekundę",
        form: |n| match (n, n % 10, n % 100) {
            (1, _, _) => 0,
            (_, 2..=4, teens) if !(12..=14).contains(&teens) => 1,
            _ => 2,
        },
    },
};
