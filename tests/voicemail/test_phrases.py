"""Phrases: what is found in a transcript, and what is not."""

from __future__ import annotations

import pytest

from sip.voicemail.events import Kind
from sip.voicemail.phrases import PRIORITY, PhraseSpotter, parse, plain, stock_table

SAID = [
    ("en", Kind.VOICEMAIL, "Hi, you've reached Ann. I can’t come to the phone now, please leave a message after the tone."),
    ("en", Kind.MAILBOX_FULL, "The mailbox is full and cannot accept any messages at this time. Goodbye."),
    ("en", Kind.MENU, "Thank you for calling. Press 1 for sales, press 2 for support."),
    ("en", Kind.SCREENING, "Hi, if you record your name and reason for calling, I'll see if this person is available."),
    ("en", Kind.ANNOUNCEMENT, "We're sorry, the number you have dialed is not in service."),
    ("es", Kind.VOICEMAIL, "En este momento no puedo atenderle, deje su mensaje después de la señal."),
    ("es", Kind.MENU, "Gracias por llamar. Para ventas, marque uno."),
    ("es", Kind.ANNOUNCEMENT, "El teléfono al que llama está apagado o fuera de cobertura."),
    ("fr", Kind.VOICEMAIL, "Bonjour, vous êtes bien sur la messagerie de Paul, laissez-moi un message après le bip."),
    ("fr", Kind.ANNOUNCEMENT, "Le numéro que vous avez composé n'est pas attribué."),
    ("fr", Kind.MENU, "Pour le service client, tapez 2."),
    ("de", Kind.VOICEMAIL, "Guten Tag, ich bin leider nicht erreichbar. Hinterlassen Sie eine Nachricht nach dem Signalton."),
    ("de", Kind.ANNOUNCEMENT, "Kein Anschluss unter dieser Nummer."),
    ("de", Kind.MENU, "Herzlich willkommen. Drücken Sie bitte die Eins."),
    ("it", Kind.VOICEMAIL, "Risponde la segreteria telefonica, lasciate un messaggio dopo il segnale acustico."),
    ("it", Kind.ANNOUNCEMENT, "Il cliente da lei chiamato non è al momento raggiungibile."),
    ("pt", Kind.VOICEMAIL, "Sua chamada está sendo encaminhada para a caixa postal, deixe seu recado após o sinal."),
    ("pt", Kind.MENU, "Para falar com vendas, digite 1."),
    ("hi", Kind.VOICEMAIL, "कृपया बीप के बाद अपना संदेश छोड़ें।"),
    ("hi", Kind.ANNOUNCEMENT, "जिस नंबर पर आप कॉल कर रहे हैं वह स्विच ऑफ है"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "kind", "text"), SAID)
@pytest.mark.parametrize("language_is_told", [True, False])
def test_what_machines_say_tells_their_kind(language, kind, text, language_is_told):
    spotter = PhraseSpotter()
    spotter.hear(text, language=language if language_is_told else None, final=True)
    assert spotter.kind is kind


@pytest.mark.parametrize(
    "text",
    [
        "Hello?",
        "Hello, Smith and Sons, this is Ann speaking, how can I help you?",
        "You've reached the workshop, what can I do for you?",
        "Bueno, ¿quién habla?",
        "Allô, oui, c'est qui ?",
        "Müller, guten Tag, was kann ich für Sie tun?",
        "Pronto, chi parla?",
        "Alô, quem fala?",
        "हेलो, कौन बोल रहे हैं?",
        "She can't come to the phone, can I get back to you as soon as she is here?",
        "En este momento no puedo atenderle.",
        "Je ne suis pas disponible, je vous rappellerai.",
        "Ich bin gerade nicht zu Hause, ich rufe zurück.",
        "In questo momento non posso parlare.",
        "Segreteria dello studio Marino, buongiorno.",
        "Agora não posso atender, ligo de volta.",
        "मैं अभी बात नहीं कर सकता, वापस कॉल करूंगा।",
        "",
    ],
)
def test_what_people_say_decides_for_no_machine(text):
    spotter = PhraseSpotter()
    spotter.hear(text, language=None, final=True)
    assert spotter.kind is None


def test_every_language_has_phrases_for_every_kind():
    table = stock_table()
    assert table.languages == {"en", "es", "fr", "de", "it", "pt", "hi"}
    for language in table.languages:
        kinds = {phrase.kind for phrase in table.of(language) if phrase.language == language and phrase.is_strong}
        assert kinds == set(PRIORITY), language


def test_a_phrase_is_found_across_pieces_and_told_once():
    spotter = PhraseSpotter()
    assert spotter.hear("please leave", language="en", final=False)
    assert [phrase.text for phrase in spotter.hear("please leave a", language="en", final=True)] == []
    found = [phrase.text for phrase in spotter.hear("Message, after", language="en", final=False)]
    assert found == ["leave a message", "message"]
    assert "after the tone" in [phrase.text for phrase in spotter.hear("message after the TONE!", language="en", final=True)]
    assert spotter.hear("leave a message after the tone", language="en", final=True) == []


def test_a_short_last_word_must_be_whole():
    table = parse({"en": {"menu": {"strong": ["press one", "dial 0"]}}})
    assert PhraseSpotter(table).hear("press oneself", language="en", final=True) == []
    assert PhraseSpotter(table).hear("now press one", language="en", final=True)


def test_weak_phrases_lean_and_do_not_decide():
    spotter = PhraseSpotter()
    spotter.hear("you have reached", language="en", final=True)
    assert (spotter.kind, spotter.leaning) == (None, Kind.VOICEMAIL)
    spotter.hear("how can I help", language="en", final=True)
    assert (spotter.kind, spotter.leaning) == (None, None)


def test_a_transcript_without_end_stays_small_and_fast():
    spotter = PhraseSpotter()
    for _ in range(200):
        spotter.hear("word " * 50, language=None, final=True)
    assert len(spotter._final) <= 60


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"en": {"robot": {"strong": ["beep"]}}}, "[en.robot]"),
        ({"en": {"menu": {"loud": ["beep"]}}}, "'loud'"),
        ({"en": {"menu": {"weak": ["?"]}}}, "'?'"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name(document, says):
    with pytest.raises(ValueError, match=says.replace("[", r"\[").replace("?", r"\?")):
        parse(document)


def test_accents_case_and_punctuation_do_not_count():
    assert plain("L'APRÈS-midi, déjà vu!") == "lapres midi deja vu"
