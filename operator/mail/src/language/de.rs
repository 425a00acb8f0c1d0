//! German, with „Sie“.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Guten Tag,",
    hello_named: "Guten Tag {name},",
    genuine_question: "Ist diese E-Mail echt?",
    unexpected_question: "Nicht erwartet?",

    link_subject: "{sender} sendet Ihnen Zugangsdaten",
    link_intro: "{sender} sendet Ihnen Zugangsdaten. Sie stehen nicht in dieser E-Mail. Dieser Link öffnet sie, ein einziges Mal:",
    link_button: "Zugangsdaten öffnen",
    link_code: "Öffnungscode:",
    link_until: "Der Link funktioniert bis zum {until}.",
    link_works_for: "Nach dem Öffnen gelten die Zugangsdaten {length} lang. Dann werden sie ersetzt.",
    link_ready: "Bevor Sie eingegeben haben, wonach die Seite fragt, wird nichts gezeigt. Öffnen Sie den Link erst, wenn Sie gleich sicher speichern können, was Sie sehen werden.",
    link_passphrase: "Sie werden auch nach einer Passphrase gefragt. Sie steht nicht in dieser E-Mail: {sender} hat sie Ihnen auf einem anderen Weg mitgeteilt oder wird das noch tun.",
    link_email_code: "Die Seite fragt auch nach einem Einmalcode. Er wird an diese Adresse gesendet, sobald Sie ihn auf der Seite anfordern.",
    link_sign_in: "Sie werden auch gebeten, sich mit einem Konto anzumelden, das zu dieser Adresse gehört. Die Seite nennt den Anbieter, bevor sie zu ihm führt.",
    link_genuine: "Der Link führt zu {host} und sonst nirgendwohin. Zeigt Ihr Browser einen anderen Namen, schließen Sie die Seite. Niemand wird Sie je nach dem Link oder dem Code fragen. Fragen Sie im Zweifel bei {sender} nach, auf einem Weg, den Sie schon kennen, und nicht durch eine Antwort auf diese E-Mail.",
    link_unexpected: "Öffnen Sie den Link und wählen Sie „Das war nicht für mich bestimmt“: Die Zugangsdaten werden zurückgezogen, und wer sie gesendet hat, erfährt es. Leiten Sie diese E-Mail nicht weiter.",

    code_subject: "Ihr Code für die Zugangsdaten von {sender}",
    code_intro: "Jemand, der den Link von {sender} hat, möchte die Zugangsdaten öffnen. Wenn Sie das sind, geben Sie auf der Seite diesen Code ein:",
    code_until: "Der Code gilt {length} lang, bis zum {until}.",
    code_genuine: "Geben Sie ihn bei {host} ein und sonst nirgends. Niemand wird Sie je per E-Mail, Chat oder Telefon danach fragen.",
    code_unexpected: "Dann hat jemand anderes Ihren Link. Geben Sie den Code niemandem, und sagen Sie es {sender} auf einem Weg, den Sie schon kennen.",

    months: [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    first: "1",
    date: "{day}. {month} {year}, {hour}:{minute} Uhr (UTC)",
    lengths: Lengths {
        days: &["{n} Tag", "{n} Tage"],
        hours: &["{n} Stunde", "{n} Stunden"],
        minutes: &["{n} Minute", "{n} Minuten"],
        seconds: &["{n} Sekunde", "{n} Sekunden"],
        and: " ",
        none: "weniger als eine Sekunde",
        form: |n| usize::from(n != 1),
    },
};
