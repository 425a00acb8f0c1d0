//! Italian, with «Lei». No date follows «fino al», which would have to become «fino all’8».

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Buongiorno,",
    hello_named: "Buongiorno {name},",
    genuine_question: "Questa e-mail è autentica?",
    unexpected_question: "Non se l’aspettava?",

    link_subject: "{sender} Le invia delle credenziali di accesso",
    link_intro: "{sender} Le invia delle credenziali di accesso. Non si trovano in questa e-mail. Questo link le apre, una volta sola:",
    link_button: "Apri le credenziali",
    link_code: "Codice di apertura:",
    link_until: "Scadenza del link: {until}.",
    link_works_for: "Dopo l’apertura le credenziali restano valide per {length}. Poi vengono sostituite.",
    link_ready: "Non viene mostrato nulla finché non inserisce ciò che la pagina chiede. Apra il link quando può salvare subito in un luogo sicuro ciò che vedrà.",
    link_passphrase: "Le verrà chiesta anche una passphrase. Non si trova in questa e-mail: {sender} l’ha comunicata, o la comunicherà, per altra via.",
    link_email_code: "Le verrà chiesto anche un codice monouso. Viene inviato a questo indirizzo quando Lei lo richiede nella pagina.",
    link_sign_in: "Le verrà chiesto anche di accedere con un account legato a questo indirizzo. La pagina indica il fornitore prima di aprirne il sito.",
    link_genuine: "Il link porta a {host} e a nessun altro sito. Se il browser mostra un altro nome, chiuda la pagina. Nessuno Le chiederà mai il link o il codice. In caso di dubbio chieda a {sender} per una via che conosce già, non rispondendo a questa e-mail.",
    link_unexpected: "Apra il link e scelga «Non era destinato a me»: le credenziali vengono ritirate e il mittente viene avvisato. Non inoltri questa e-mail.",

    code_subject: "Il Suo codice per le credenziali di {sender}",
    code_intro: "Qualcuno che ha il link di {sender} chiede di aprire le credenziali. Se è Lei, inserisca questo codice nella pagina:",
    code_until: "Il codice è valido per {length}. Scadenza: {until}.",
    code_genuine: "Lo inserisca su {host} e su nessun altro sito. Nessuno Glielo chiederà mai per e-mail, chat o telefono.",
    code_unexpected: "Qualcun altro ha il Suo link. Non dia il codice a nessuno e avvisi {sender} per una via che conosce già.",

    months: [
        "gennaio",
        "febbraio",
        "marzo",
        "aprile",
        "maggio",
        "giugno",
        "luglio",
        "agosto",
        "settembre",
        "ottobre",
        "novembre",
        "dicembre",
    ],
    first: "1º",
    date: "{day} {month} {year}, ore {hour}:{minute} (UTC)",
    lengths: Lengths {
        days: &["{n} giorno", "{n} giorni"],
        hours: &["{n} ora", "{n} ore"],
        minutes: &["{n} minuto", "{n} minuti"],
        seconds: &["{n} secondo", "{n} secondi"],
        and: " e ",
        none: "meno di un secondo",
        form: |n| usize::from(n != 1),
    },
};
