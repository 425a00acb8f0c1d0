/** What the page can be showing, what can happen to it, and what it can do. Data only. */
import type { Checks, LinkState, Refusal } from '../api.ts';
import type { CheckRules, SignIn } from '../checks/rules.ts';
import type { Face } from '../secret/face.ts';
import type { Payload, Preview } from '../protocol/payload.ts';

/** What this browser remembers of a link: nothing, a claim token, or that it was saved. */
export type Held = 'no' | 'token' | 'done';

/** What a person must type. */
export type Need = 'code' | 'emailCode' | 'passphrase';

/** What the next press of the button does: have a code mailed, hand it in, go to the sign-in. */
export type Stage = 'mail' | 'emailCode' | 'signIn';

/** A `lookup` whose facts were checked. A link that can be opened has its preview, except in a form that is shown early. */
export interface Info {
  readonly state: LinkState;
  readonly expiresAt: number;
  readonly windowEndsAt?: number;
  readonly kinds: readonly string[];
  /** Whether a claim needs an opening code. */
  readonly openingCode: boolean;
  readonly preview?: Preview;
  /** The token stood in a path or a query: others may have seen it. */
  readonly exposed?: true | undefined;
  /** Where a sign-in begins, as the gateway says. */
  readonly signIn?: SignIn | undefined;
}

export type Typed = Readonly<Record<Need, string>>;

export type Problem =
  | {
      readonly is:
        | 'unreachable'
        | 'notReady'
        | 'unexpected'
        | 'badCode'
        | 'badEmailCode'
        | 'badPassphrase'
        | 'noWorker'
        | 'usedUp'
        | 'codeExpired'
        | 'notSent'
        | 'noMail'
        | 'signIn'
        | 'signInEmail'
        | 'signInUnverified'
        | 'signInProvider'
        | 'signInTooMany';
    }
  | { readonly is: 'slowDown' | 'wrongCode'; readonly until: number }
  | { readonly is: 'wrongProof' | 'codeToo' | 'wrongEmailCode'; readonly until: number; readonly left?: number };

/** How a link ended for this person. `claimed`: by somebody else. `mine`: saved here. `late`: opened here, the window is over. */
export type Ending = Exclude<LinkState, 'open'> | 'mine' | 'late' | 'notFound' | 'altered' | 'unsupported' | 'unreadable';

/** The form that opens. Shown early where its preview is still to be opened: nothing is sent until it is. */
export interface Ask {
  readonly at: 'ask';
  readonly info: Info;
  /** Claimed before by this browser: shown again. */
  readonly again: boolean;
  readonly needs: readonly Need[];
  /** The opening code, where the gateway has taken it before. */
  readonly code?: string | undefined;
  readonly busy: boolean;
  /** What was typed, while the outcome of a claim is unknown. */
  readonly typed?: Typed;
  /** Claims sent since the last definite answer. */
  readonly tries: number;
  readonly problem?: Problem;
}

/** Before opening: an e-mailed code, a sign-in. Its rules come in a file of their own, for links that ask for it. */
export interface Check {
  readonly at: 'check';
  readonly rules: CheckRules;
  readonly info: Info;
  readonly stage: Stage;
  readonly needs: readonly Need[];
  readonly checks: Checks;
  readonly code?: string | undefined;
  readonly busy: boolean;
  readonly typed?: Typed;
  readonly problem?: Problem;
}

export interface Opened {
  readonly at: 'opened';
  readonly face: Face;
  readonly info: Info;
  /** The opening code that was typed for it. */
  readonly code?: string | undefined;
  readonly payload: Payload;
  readonly claimedAt: number;
  readonly windowEndsAt: number;
  /** Whether this browser could keep the claim token, so that a reload works. */
  readonly kept: boolean;
  /** The window is over: a reload would show nothing. */
  readonly over?: boolean;
  readonly busy: boolean;
  readonly problem?: Problem;
}

export interface Over {
  readonly at: 'over';
  readonly how: Ending;
  /** Until when the credential works that was opened here. */
  readonly stopsAt?: number | undefined;
}

export interface Decline {
  readonly at: 'decline';
  readonly back: Ask | Check | Opened | Over;
  /** The opening code, where it was right once already. */
  readonly code?: string | undefined;
  readonly busy: boolean;
  readonly problem?: Problem;
}

export type State =
  | { readonly at: 'looking' }
  | { readonly at: 'noLink'; readonly why: 'none' | 'broken' | 'insecure' }
  | { readonly at: 'trouble'; readonly problem: Problem }
  | Ask
  | Check
  | Opened
  | { readonly at: 'done'; readonly stopsAt?: number }
  | Decline
  | { readonly at: 'declined' }
  | Over
  | { readonly at: 'left' };

export interface LookedUp {
  readonly is: 'lookedUp';
  readonly quiet?: true | undefined;
  /** `altered`: the record contradicts its own seal. */
  readonly info: Info | 'altered';
  readonly held: Held;
  readonly stopsAt?: number | undefined;
  /** Where the link asks for checks: their rules, how they stand. `code`: the opening code, where the gateway has taken it. */
  readonly rules?: CheckRules | undefined;
  readonly checks?: Checks | undefined;
  readonly code?: string | undefined;
  /** How the person came back from the sign-in, the first time that this is told. */
  readonly returned?: 'answered' | 'refused' | undefined;
}

/** What a lookup says while the cipher is on its way: enough for a form, too little to send anything. */
export interface Glimpsed {
  readonly is: 'glimpsed';
  readonly info: Info;
  readonly held: Held;
}

export interface Refused {
  readonly is: 'refused';
  readonly refusal: Refusal;
  readonly now: number;
}

export type Event =
  | LookedUp
  | Glimpsed
  | Refused
  | { readonly is: 'submitted'; readonly typed: Typed; readonly now: number }
  | { readonly is: 'checked'; readonly checks: Checks; readonly now: number }
  | { readonly is: 'claimed'; readonly face: Face; readonly payload: Payload; readonly claimedAt: number; readonly windowEndsAt: number; readonly kept: boolean }
  | { readonly is: 'unreadable' | 'badPassphrase' | 'noWorker' }
  /** `due`: a time that the page has named is over. `stirred`: another tab, or the network, has changed something. */
  | { readonly is: 'saved' | 'acknowledged' | 'notMine' | 'back' | 'declined' | 'retry' | 'due' | 'stirred' | 'left' }
  | { readonly is: 'mailAgain' | 'declineSubmitted'; readonly code: string; readonly now: number };

/** A step of the verb `code`. */
export type CheckStep = 'mail' | 'code' | 'oidc' | 'status';

export type CheckEffect =
  | { readonly do: 'check'; readonly step: CheckStep; readonly afterMs: number; readonly code?: string | undefined; readonly emailCode?: string | undefined }
  | { readonly do: 'signIn'; readonly code: string; readonly to: SignIn };

export type Effect =
  /** `quiet`: nobody waits for it, so a failure is not told, and a claim that was sent meanwhile goes first. */
  | { readonly do: 'lookup'; readonly afterMs: number; readonly quiet?: true }
  | CheckEffect
  | { readonly do: 'claim'; readonly again: boolean; readonly code?: string | undefined; readonly passphrase?: string | undefined }
  | { readonly do: 'acknowledge' }
  | { readonly do: 'decline'; readonly code: string }
  /** Overwrite what came of a passphrase. */
  | { readonly do: 'wipe' }
  /** Overwrite everything, `S` too: the page is left. */
  | { readonly do: 'forget' };

export type Step = readonly [State, ...Effect[]];
