//! French, with « vous ». Spaces before colons and question marks, inside guillemets and in times do not break.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Bonjour,",
    hello_named: "Bonjour {name},",
    genuine_question: "Ce message est-il authentique\u{a0}?",
    unexpected_question: "Vous n’attendiez rien\u{a0}?",

    link_subject: "{sender} vous envoie des identifiants",
    link_intro: "{sender} vous envoie des identifiants. Ils ne se trouvent pas dans ce message. Ce lien les ouvre, une seule fois\u{a0}:",
    link_button: "Ouvrir les identifiants",
    link_code: "Code d’ouverture\u{a0}:",
    link_until: "Le lien fonctionne jusqu’au {until}.",
    link_works_for: "Les identifiants restent valables {length} après leur ouverture. Ensuite, ils sont remplacés.",
    link_ready: "Rien ne s’affiche tant que vous n’avez pas saisi ce que la page demande. Ouvrez le lien au moment où vous pourrez enregistrer en lieu sûr ce qui s’affichera.",
    link_passphrase: "Une phrase secrète vous sera aussi demandée. Elle ne se trouve pas dans ce message\u{a0}: {sender} vous l’a communiquée ou vous la communiquera par un autre moyen.",
    link_email_code: "Un code à usage unique vous sera aussi demandé. Il est envoyé à cette adresse quand vous le demandez sur la page.",
    link_sign_in: "Il vous sera aussi demandé de vous connecter avec un compte lié à cette adresse. La page indique le fournisseur avant de vous y conduire.",
    link_genuine: "Le lien mène à {host} et nulle part ailleurs. Si votre navigateur affiche un autre nom, fermez la page. Personne ne vous demandera jamais le lien ni le code. En cas de doute, interrogez {sender} par un moyen que vous connaissez déjà, et non en répondant à ce message.",
    link_unexpected: "Ouvrez le lien et choisissez «\u{a0}Cela ne m’était pas destiné\u{a0}»\u{a0}: les identifiants seront retirés et l’expéditeur en sera informé. Ne transférez pas ce message.",

    code_subject: "Votre code pour les identifiants envoyés par {sender}",
    code_intro: "Une personne qui possède le lien envoyé par {sender} demande à ouvrir les identifiants. Si c’est vous, saisissez ce code sur la page\u{a0}:",
    code_until: "Le code est valable {length}, jusqu’au {until}.",
    code_genuine: "Saisissez-le sur {host} et nulle part ailleurs. Personne ne vous le demandera jamais par courriel, messagerie ou téléphone.",
    code_unexpected: "Quelqu’un d’autre possède votre lien. Ne donnez le code à personne et prévenez {sender} par un moyen que vous connaissez déjà.",

    months: [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
    first: "1er",
    date: "{day} {month} {year} à {hour}\u{a0}h\u{a0}{minute} (UTC)",
    lengths: Lengths {
        days: &["{n} jour", "{n} jours"],
        hours: &["{n} heure", "{n} heures"],
        minutes: &["{n} minute", "{n} minutes"],
        seconds: &["{n} seconde", "{n} secondes"],
        and: " et ",
        none: "moins d’une seconde",
        form: |n| usize::from(n > 1),
    },
};
