"""Who answered, and what the policy makes of it: from what is heard to what is written down, told to the agents, and ordered.

    carry_on --a final machine--> hang_up
       ^ `--a final machine--> wait_for_beep --the beep, or none for a time--> message_plays | speak_now --its end--> left
       `----------------------- a person after all, or nobody listens any more ----------------------'

Nothing is done to a callee on a first verdict. A hang-up asks for a final one that is as sure as the policy demands, and so
does a message without a beep, since it ends the call. A person who turns out to be on the line withdraws all that is not done.

Pure: events in, acts out; `orchestrator.calls.conversation` carries them out. Moments are of the carrier's clock. It must not
know: how anything is heard, played or stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from orchestrator.calls.acts import (
    ANSWERED_BY,
    MESSAGE_PLANS,
    PLAN,
    SECOND_OPINION,
    SILENCE_WARNING,
    VERDICT_RULE,
    VERDICT_STAGE,
    Act,
    Ask,
    Give,
    Note,
    Plan,
    Play,
    Stop,
    Tell,
    Withdraw,
    facts_of,
    tone_detail,
)
from orchestrator.calls.orders import BY_VERDICT, FOR_QUIET, Order, order_on
from orchestrator.calls.story import Story
from orchestrator.detection import Action, DetectionPolicy
from sip.events import Fact, Heard, ListeningLost, ListeningStarted, MessagePlayed, Quiet, WentQuiet
from sip.voicemail.events import Kind, PhraseHeard, SpeechEnded, SpeechStarted, Stage, Tone, ToneKind, Verdict, WordsHeard

FRESH_BEEP_S = 5.0
"""A beep that was heard so shortly before the final verdict, with no speech since, is the one to speak after."""
MOST_WORDS = 200
"""Of a transcript that are kept, for a second opinion; they are neither stored nor logged."""
MOST_SOUNDS_NOTED = 20
"""Tones and phrases in a call's timeline: music is full of them."""

Sound = ListeningStarted | ListeningLost | Heard | WentQuiet | MessagePlayed


class Answering:
    """What is known of who answered one dial, and what is being done about it. Evidence goes to its story."""

    def __init__(self, *, policy: DetectionPolicy, story: Story) -> None:
        self._policy = policy
        self._story = story
        self._verdict: Verdict | None = None
        """The latest."""
        self._verdict_s = 0.0
        self._plan = Plan.CARRY_ON
        self._deadline_s: float | None = None
        self._quiet_since_s: float | None = None
        """The end of what the callee said last; None: it has said nothing yet."""
        self._speaks = False
        self._beep_s: float | None = None
        """The end of the last beep, with no speech since."""
        self._message_since_s = 0.0
        self._agent_is_done = False
        self._words: list[str] = []
        self._asked: Verdict | None = None
        """The verdict on which there is to be a second opinion."""
        self._sounds_noted = 0

    @property
    def deadline_s(self) -> float | None:
        """When `on_time` is to be called."""
        return self._deadline_s

    @property
    def needs_no_agent(self) -> bool:
        """A recorded message is being left, or about to be: an agent that goes meanwhile is not missed."""
        return self._plan in (Plan.WAIT_FOR_BEEP, Plan.MESSAGE_PLAYS) and self._policy.message != ""

    def hear(self, event: Sound) -> list[Act]:
        """What follows from one event."""
        match event:
            case ListeningStarted():
                self._story.notes.pop("listening_lost", None)
                return []
            case ListeningLost():
                return self._on_loss(event.why)
            case Heard():
                return self._on_heard(event)
            case WentQuiet():
                return self._on_quiet(event)
            case MessagePlayed():
                return self._on_played(event)
            case _:
                assert_never(event)

    def answered(self) -> list[Act]:
        """The story has its answer now."""
        return self._decide() or self._tell_of_loss()

    def agent_ends(self, now_s: float) -> Order:
        """What it means that the agent ends the call on purpose now."""
        if self._plan is not Plan.SPEAK_NOW:
            return Order.AGENT_ENDED
        if not self._agent_is_done:
            self._agent_is_done = True
            self._deadline_s = None
            self._story.notes["message_s"] = round(now_s - self._message_since_s, 3)
        return Order.MESSAGE_LEFT

    def on_time(self, now_s: float) -> list[Act]:
        """The deadline has passed."""
        if self._deadline_s is None or now_s < self._deadline_s:
            return []
        self._deadline_s = None
        match self._plan:
            case Plan.WAIT_FOR_BEEP if self._quiet_since_s is None or self._speaks:
                return self._carry_on("it never stopped speaking")
            case Plan.WAIT_FOR_BEEP if not self._is_sure:
                return self._carry_on("no beep, and not sure enough of a machine")
            case Plan.WAIT_FOR_BEEP:
                return self._leave_message(now_s, after="greeting")
            case Plan.MESSAGE_PLAYS:
                return self._carry_on("longer than longest_message_s")
            case Plan.SPEAK_NOW:
                self._story.notes["message_s"] = round(now_s - self._message_since_s, 3)
                return [Give(Order.MESSAGE_LEFT, now_s, "longest_message_s")]
            case Plan.CARRY_ON | Plan.HANG_UP:
                return []

    # -- what is heard -----------------------------------------------------------------------------------------------------

    def _on_heard(self, event: Heard) -> list[Act]:
        what, now_s = event.what, event.at.at_s
        acts: list[Act] = [Withdraw(frozenset({Order.MEDIA_LOST}))]

        def clock_s(stream_s: float) -> float:
            return now_s - (what.told_s - stream_s)

        match what:
            case SpeechStarted():
                self._speaks = True
                if self._beep_s is not None and clock_s(what.at_s) > self._beep_s:
                    self._beep_s = None
                self._set_wait()
                return [Withdraw(FOR_QUIET)]
            case SpeechEnded():
                self._speaks, self._quiet_since_s = False, clock_s(what.ended_s)
                self._set_wait()
                return acts
            case Tone(kind=ToneKind.BEEP) if event.answered_s is not None:
                return [*acts, *self._on_beep(what, ended_s=clock_s(what.ended_s), now_s=now_s, answered_s=event.answered_s)]
            case Tone():
                return [*acts, *self._note_sound("tone", tone_detail(what), answered_s=event.answered_s, told_s=what.told_s)]
            case PhraseHeard():
                detail: dict[str, Fact] = {"kind": what.kind.value, "language": what.language, "phrase": what.phrase}
                return [*acts, *self._note_sound("phrase", detail, answered_s=event.answered_s, told_s=what.told_s)]
            case WordsHeard():
                self._words = [*self._words, *what.text.split()][:MOST_WORDS]
                return acts
            case Verdict():
                return [*acts, *self._on_verdict(what, now_s=now_s, answered_s=event.answered_s)]
            case _:
                assert_never(what)

    def _on_verdict(self, verdict: Verdict, *, now_s: float, answered_s: float | None) -> list[Act]:
        detail: dict[str, Fact] = {
            **verdict.evidence,
            "kind": verdict.kind.value,
            "stage": verdict.stage.value,
            "machine_probability": round(verdict.machine_probability, 4),
            "rule": verdict.rule,
        }
        if answered_s is None:
            self._story.notes["early_verdict"] = verdict.kind.value
            self._story.notes["early_verdict_rule"] = verdict.rule
            return [Note("early_verdict", detail)]
        if verdict.rule == SECOND_OPINION and self._verdict is not self._asked:
            return [Note("late_opinion", detail)]  # what has been heard meanwhile says more
        after_s = round(verdict.told_s - answered_s, 3)
        self._verdict, self._verdict_s = verdict, now_s
        self._story.heard = verdict.kind
        notes = self._story.notes
        notes["verdict"], notes["verdict_stage"] = verdict.kind.value, verdict.stage.value
        notes["machine_probability"], notes["verdict_rule"] = round(verdict.machine_probability, 4), verdict.rule
        notes["verdict_s"] = after_s
        if verdict.stage is Stage.FIRST:
            notes["first_verdict"], notes["first_verdict_s"] = verdict.kind.value, after_s
        note = Note("verdict", {**detail, "after_answer_s": after_s})
        if verdict.stage is Stage.FIRST:
            return [note, Tell(facts_of(self._verdict, self._plan))]
        return [note, *self._decide(), *self._ask(verdict, answered_s=answered_s)]

    def _ask(self, verdict: Verdict, *, answered_s: float) -> list[Act]:
        """For a second opinion, once, on a final verdict that is not sure."""
        doubtful = self._policy.hang_up_probability > verdict.machine_probability > 1 - self._policy.hang_up_probability
        if self._asked is not None or not self._words or not doubtful:
            return []
        self._asked = verdict
        return [Ask(words=" ".join(self._words), verdict=verdict, answered_s=answered_s)]

    def _on_beep(self, beep: Tone, *, ended_s: float, now_s: float, answered_s: float) -> list[Act]:
        self._beep_s = ended_s
        self._story.notes["beep_s"] = round(beep.ended_s - answered_s, 3)
        if self._plan in (Plan.MESSAGE_PLAYS, Plan.SPEAK_NOW):
            self._story.notes["beep_during_message"] = True
        acts = self._note_sound("beep", tone_detail(beep), answered_s=answered_s, told_s=beep.told_s)
        return [*acts, *self._leave_message(now_s, after="beep")] if self._plan is Plan.WAIT_FOR_BEEP else acts

    def _on_quiet(self, event: WentQuiet) -> list[Act]:
        if self._story.answered is None:
            return []
        if self._plan in MESSAGE_PLANS and event.quiet is not Quiet.MEDIA:
            return []  # a mailbox is silent while it records, and a recorded message is no agent's voice
        match event.quiet:
            case Quiet.MEDIA:
                return self._end_for_quiet(Order.MEDIA_LOST, event)
            case Quiet.CALLEE_WARNING:
                detail: dict[str, Fact] = {"silent_s": round(event.for_s, 3)}
                return [Note("silence_warning", detail), Tell({SILENCE_WARNING: f"{event.for_s:g}"})]
            case Quiet.CALLEE:
                return self._end_for_quiet(Order.SILENCE, event)
            case Quiet.BOTH:
                return self._end_for_quiet(Order.IDLE, event)
            case _:
                assert_never(event.quiet)

    def _end_for_quiet(self, order: Order, event: WentQuiet) -> list[Act]:
        self._story.notes["quiet_s"] = round(event.for_s, 3)
        return [Give(order, event.at.at_s)]

    def _on_loss(self, why: str) -> list[Act]:
        self._story.notes["listening_lost"] = why
        acts: list[Act] = [Note("listening_lost", {"why": why}), Withdraw(self._withdrawable | FOR_QUIET)]
        if self._plan in (Plan.WAIT_FOR_BEEP, Plan.MESSAGE_PLAYS, Plan.HANG_UP):
            return [*acts, *self._carry_on("nobody listens any more")]
        return [*acts, *self._tell_of_loss()]

    def _tell_of_loss(self) -> list[Act]:
        """Once there is an answer: whoever holds its first words until there is a verdict shall not wait in vain."""
        is_final = self._verdict is not None and self._verdict.stage is not Stage.FIRST
        if is_final or self._story.answered is None or "listening_lost" not in self._story.notes:
            return []
        facts = {ANSWERED_BY: Kind.UNCERTAIN.value, VERDICT_STAGE: Stage.FINAL.value, VERDICT_RULE: "listening_lost"}
        return [Tell({**facts, PLAN: self._plan.value})]

    # -- what is done ------------------------------------------------------------------------------------------------------

    @property
    def _is_sure(self) -> bool:
        if self._verdict is None or self._verdict.rule == SECOND_OPINION:
            return False
        return self._verdict.machine_probability >= self._policy.hang_up_probability

    def _decide(self) -> list[Act]:
        """What the policy does on the last verdict, once there is a final one and an answer."""
        verdict = self._verdict
        if verdict is None or verdict.stage is Stage.FIRST or self._story.answered is None:
            return []
        action = self._policy.action_on(verdict.kind)
        self._story.notes.pop("not_sure_enough", None)
        if action is Action.HANG_UP and not self._is_sure:
            action = Action.CARRY_ON
            self._story.notes["not_sure_enough"] = True
        match action:
            case Action.CARRY_ON:
                return self._carry_on(verdict.rule)
            case Action.HANG_UP:
                return self._hang_up(verdict)
            case Action.LEAVE_MESSAGE:
                return self._await_beep()
            case _:
                assert_never(action)

    def _carry_on(self, why: str) -> list[Act]:
        """Call off what is not done yet."""
        before, self._plan, self._deadline_s = self._plan, Plan.CARRY_ON, None
        acts: list[Act] = [Withdraw(self._withdrawable)]
        acts += [Stop()] if before is Plan.MESSAGE_PLAYS else []
        if before is not Plan.CARRY_ON:
            acts.append(Note("plan_called_off", {"plan": before.value, "why": why}))
        return [*acts, Tell(facts_of(self._verdict, self._plan))]

    @property
    def _withdrawable(self) -> frozenset[Order]:
        # An agent that said that it is done leaves in a moment, whoever is on the line.
        return BY_VERDICT - {Order.MESSAGE_LEFT} if self._agent_is_done else BY_VERDICT

    def _hang_up(self, verdict: Verdict) -> list[Act]:
        before, self._plan, self._deadline_s = self._plan, Plan.HANG_UP, None
        if before is Plan.HANG_UP:
            return [Tell(facts_of(self._verdict, self._plan))]
        acts: list[Act] = [Stop()] if before is Plan.MESSAGE_PLAYS else []
        order = Give(order_on(verdict.kind), self._verdict_s, verdict.kind.value)
        return [*acts, Tell(facts_of(self._verdict, self._plan)), order]

    def _await_beep(self) -> list[Act]:
        if self._plan in MESSAGE_PLANS:
            return [Tell(facts_of(self._verdict, self._plan))]
        acts: list[Act] = [Withdraw(self._withdrawable)]
        self._plan = Plan.WAIT_FOR_BEEP
        if not self._speaks and self._beep_s is not None and self._verdict_s - self._beep_s <= FRESH_BEEP_S:
            return [*acts, *self._leave_message(self._verdict_s, after="beep")]
        if self._quiet_since_s is None and not self._speaks and self._story.answered is not None:
            self._quiet_since_s = self._story.answered.at.at_s
        self._set_wait()
        return [*acts, Tell(facts_of(self._verdict, self._plan))]

    def _set_wait(self) -> None:
        """How long the beep is waited for, as speech comes and goes."""
        if self._plan is Plan.WAIT_FOR_BEEP:
            self._deadline_s = self._verdict_s + self._policy.beep_wait_s
            if not self._speaks and self._quiet_since_s is not None:
                self._deadline_s = min(self._deadline_s, self._quiet_since_s + self._policy.no_beep_wait_s)

    def _leave_message(self, now_s: float, *, after: str) -> list[Act]:
        by_file = self._policy.message != ""
        self._plan = Plan.MESSAGE_PLAYS if by_file else Plan.SPEAK_NOW
        self._message_since_s, self._deadline_s = now_s, now_s + self._policy.longest_message_s
        by = "file" if by_file else "agent"
        self._story.notes["message_by"], self._story.notes["message_after"] = by, after
        acts: list[Act] = [Note("message", {"by": by, "after": after}), Tell(facts_of(self._verdict, self._plan))]
        return [*acts, Play(self._policy.message)] if by_file else acts

    def _on_played(self, event: MessagePlayed) -> list[Act]:
        detail: dict[str, Fact] = {"complete": event.complete, "played_s": round(event.played_s, 3)}
        detail |= {"why": event.why} if event.why else {}
        self._story.notes["message_s"] = round(event.played_s, 3)
        acts: list[Act] = [Note("message_played", detail)]
        if self._plan is not Plan.MESSAGE_PLAYS:
            return acts
        if not event.complete:
            return [*acts, *self._carry_on(event.why or "the message could not be played")]
        self._deadline_s = None
        return [*acts, Give(Order.MESSAGE_LEFT, event.at.at_s)]

    def _note_sound(self, kind: str, detail: Mapping[str, Fact], *, answered_s: float | None, told_s: float) -> list[Act]:
        self._sounds_noted += 1
        if self._sounds_noted > MOST_SOUNDS_NOTED:
            return []
        when: dict[str, Fact] = {} if answered_s is None else {"after_answer_s": round(told_s - answered_s, 3)}
        return [Note(kind if answered_s is not None else f"early_{kind}", {**detail, **when})]
