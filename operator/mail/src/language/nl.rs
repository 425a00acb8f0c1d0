//! Dutch, with “u”.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Goedendag,",
    hello_named: "Beste {name},",
    genuine_question: "Is deze e-mail echt?",
    unexpected_question: "Niet verwacht?",

    link_subject: "{sender} stuurt u inloggegevens",
    link_intro: "{sender} stuurt u inloggegevens. Ze staan niet in deze e-mail. Deze link opent ze, één keer:",
    link_button: "Inloggegevens openen",
    link_code: "Openingscode:",
    link_until: "De link werkt tot {until}.",
    link_works_for: "De inloggegevens werken nog {length} nadat u ze hebt geopend. Daarna worden ze vervangen.",
    link_ready: "Er wordt niets getoond voordat u hebt ingevuld wat de pagina vraagt. Open de link wanneer u wat u te zien krijgt meteen veilig kunt bewaren.",
    link_passphrase: "Er wordt ook om een wachtwoordzin gevraagd. Die staat niet in deze e-mail: {sender} heeft die op een andere manier aan u doorgegeven, of doet dat nog.",
    link_email_code: "Er wordt ook om een eenmalige code gevraagd. Die wordt naar dit adres gestuurd zodra u er op de pagina om vraagt.",
    link_sign_in: "U wordt ook gevraagd in te loggen met een account van dit adres. De pagina noemt de aanbieder voordat u erheen gaat.",
    link_genuine: "De link leidt naar {host} en nergens anders heen. Toont uw browser een andere naam, sluit dan de pagina. Niemand zal u ooit om de link of de code vragen. Vraag het bij twijfel aan {sender} op een manier die u al kent, en niet door deze e-mail te beantwoorden.",
    link_unexpected: "Open de link en kies ‘Dit was niet voor mij bestemd’: de inloggegevens worden ingetrokken en de afzender krijgt bericht. Stuur deze e-mail niet door.",

    code_subject: "Uw code voor de inloggegevens van {sender}",
    code_intro: "Iemand die de link van {sender} heeft, wil de inloggegevens openen. Bent u dat, vul dan deze code in op de pagina:",
    code_until: "De code is {length} geldig, tot {until}.",
    code_genuine: "Vul hem in op {host} en nergens anders. Niemand zal er ooit per e-mail, chat of telefoon om vragen.",
    code_unexpected: "Dan heeft iemand anders uw link. Geef de code aan niemand en laat het {sender} weten op een manier die u al kent.",

    months: [
        "januari",
        "februari",
        "maart",
        "april",
        "mei",
        "juni",
        "juli",
        "augustus",
        "september",
        "oktober",
        "november",
        "december",
    ],
    first: "1",
    date: "{day} {month} {year}, {hour}:{minute} uur (UTC)",
    lengths: Lengths {
        days: &["{n} dag", "{n} dagen"],
        hours: &["{n} uur"],
        minutes: &["{n} minuut", "{n} minuten"],
        seconds: &["{n} seconde", "{n} seconden"],
        and: " en ",
        none: "minder dan een seconde",
        form: |n| usize::from(n != 1),
    },
};
