//! Spanish, with «usted».

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Hola:",
    hello_named: "Hola, {name}:",
    genuine_question: "¿Es auténtico este mensaje?",
    unexpected_question: "¿No lo esperaba?",

    link_subject: "{sender} le envía unas credenciales de acceso",
    link_intro: "{sender} le envía unas credenciales de acceso. No están en este mensaje. Este enlace las abre, una sola vez:",
    link_button: "Abrir las credenciales",
    link_code: "Código de apertura:",
    link_until: "El enlace funciona hasta el {until}.",
    link_works_for: "Las credenciales funcionan durante {length} después de abrirlas. Luego se sustituyen.",
    link_ready: "No se muestra nada hasta que escriba lo que la página le pida. Abra el enlace cuando pueda guardar en un lugar seguro lo que va a ver.",
    link_passphrase: "También se le pedirá una frase de contraseña. No está en este mensaje: {sender} se la ha comunicado, o se la comunicará, por otra vía.",
    link_email_code: "También se le pedirá un código de un solo uso. Se envía a esta dirección cuando usted lo solicita en la página.",
    link_sign_in: "También se le pedirá que inicie sesión con una cuenta de esta dirección. La página indica el proveedor antes de llevarle a él.",
    link_genuine: "El enlace lleva a {host} y a ningún otro sitio. Si su navegador muestra otro nombre, cierre la página. Nadie le pedirá nunca el enlace ni el código. En caso de duda, pregunte a {sender} por una vía que ya conozca, no respondiendo a este mensaje.",
    link_unexpected: "Abra el enlace y elija «Esto no era para mí»: las credenciales se retiran y se avisa a quien las envió. No reenvíe este mensaje.",

    code_subject: "Su código para las credenciales de {sender}",
    code_intro: "Alguien que tiene el enlace de {sender} pide abrir las credenciales. Si es usted, escriba este código en la página:",
    code_until: "El código es válido durante {length}, hasta el {until}.",
    code_genuine: "Escríbalo en {host} y en ningún otro sitio. Nadie se lo pedirá nunca por correo, chat o teléfono.",
    code_unexpected: "Otra persona tiene su enlace. No dé el código a nadie y avise a {sender} por una vía que ya conozca.",

    months: [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
    first: "1",
    date: "{day} de {month} de {year}, {hour}:{minute} h (UTC)",
    lengths: Lengths {
        days: &["{n} día", "{n} días"],
        hours: &["{n} hora", "{n} horas"],
        minutes: &["{n} minuto", "{n} minutos"],
        seconds: &["{n} segundo", "{n} segundos"],
        and: " y ",
        none: "menos de un segundo",
        form: |n| usize::from(n != 1),
    },
};
