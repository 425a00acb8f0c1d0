//! Portuguese, in the third person, and in words that are good in Portugal and in Brazil.

use super::texts::{Lengths, Texts};

pub(super) const TEXTS: Texts = Texts {
    hello: "Olá,",
    hello_named: "Olá, {name},",
    genuine_question: "Este e-mail é autêntico?",
    unexpected_question: "Não esperava isto?",

    link_subject: "{sender} envia-lhe credenciais de acesso",
    link_intro: "{sender} envia-lhe credenciais de acesso. Elas não estão neste e-mail. Este link abre-as, uma única vez:",
    link_button: "Abrir as credenciais",
    link_code: "Código de abertura:",
    link_until: "O link funciona até {until}.",
    link_works_for: "As credenciais funcionam durante {length} depois de abertas. Em seguida, são substituídas.",
    link_ready: "Nada é mostrado antes de escrever o que a página pede. Abra o link quando puder guardar logo, num lugar seguro, o que vai ver.",
    link_passphrase: "Também lhe será pedida uma frase-passe. Ela não está neste e-mail: {sender} já a comunicou, ou vai comunicá-la, por outro meio.",
    link_email_code: "Também lhe será pedido um código de utilização única. É enviado para este endereço quando o pedir na página.",
    link_sign_in: "Também lhe será pedido que inicie sessão com uma conta deste endereço. A página indica o fornecedor antes de abrir o respetivo site.",
    link_genuine: "O link leva a {host} e a nenhum outro lugar. Se o navegador mostrar outro nome, feche a página. Ninguém lhe pedirá jamais o link ou o código. Em caso de dúvida, pergunte a {sender} por um meio que já conheça, e não respondendo a este e-mail.",
    link_unexpected: "Abra o link e escolha “Isto não era para mim”: as credenciais são retiradas e quem as enviou é avisado. Não reencaminhe este e-mail.",

    code_subject: "O seu código para as credenciais de {sender}",
    code_intro: "Alguém que tem o link de {sender} pede para abrir as credenciais. Se for o seu caso, escreva este código na página:",
    code_until: "O código é válido durante {length}, até {until}.",
    code_genuine: "Escreva-o em {host} e em nenhum outro lugar. Ninguém o pedirá jamais por e-mail, chat ou telefone.",
    code_unexpected: "Outra pessoa tem o seu link. Não dê o código a ninguém e avise {sender} por um meio que já conheça.",

    months: [
        "janeiro",
        "fevereiro",
        "março",
        "abril",
        "maio",
        "junho",
        "julho",
        "agosto",
        "setembro",
        "outubro",
        "novembro",
        "dezembro",
    ],
    first: "1",
    date: "{day} de {month} de {year}, {hour}:{minute} (UTC)",
    lengths: Lengths {
        days: &["{n} dia", "{n} dias"],
        hours: &["{n} hora", "{n} horas"],
        minutes: &["{n} minuto", "{n} minutos"],
        seconds: &["{n} segundo", "{n} segundos"],
        and: " e ",
        none: "menos de um segundo",
        form: |n| usize::from(n != 1),
    },
};
