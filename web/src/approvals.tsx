// Acts that take two persons: what waits, with exactly what it will change, and what every administration page says about it.
import { useEffect, useState } from 'preact/hooks'
import { Refused, ask } from './api'
import { Dialog, Failed, words } from './dialog'
import type { PageProps } from './office'
import { Frame } from './parts'
import { clock, day, roleWords } from './words'

export interface Waiting {
  id: string
  kind: string
  what: string[]
  requester_name: string
  role: string
  workstation: string
  requested: string
  expires: string
  outcome: 'waiting' | 'expired' | 'approved' | 'done' | 'failed' | 'refused' | 'withdrawn'
  decider_name?: string
  note?: string
  mine: boolean
}

// What the hub answers to an act that waits.
export interface AskedFor {
  waiting?: Waiting
  approvers?: string[]
  password_first_half?: string
}

interface TwoPersons {
  on: boolean
  off_by_configuration: boolean
  approvers: string[]
  needed: number
  waiting: number
}

// TwoPersonsBanner stands on every page of an administrator while one administrator alone is enough.
export function TwoPersonsBanner() {
  const [state, setState] = useState<TwoPersons>()
  const [failed, setFailed] = useState('')
  useEffect(() => {
    ask<TwoPersons>('GET', '/api/admin/two-persons', undefined, true).then(setState, () => {})
  }, [])
  if (!state || state.on) return null
  const enough = state.approvers.length >= state.needed
  const on = () => {
    setFailed('')
    ask<TwoPersons>('PUT', '/api/admin/two-persons', { on: true }).then(setState, (e: unknown) => setFailed(words(e)))
  }
  return (
    <div class="banner" role="alert" data-testid="one-person">
      <strong>One administrator alone can make clinicians, auditors, patients’ logins and wall screens.</strong>{' '}
      {state.off_by_configuration ? (
        <span>The hub’s configuration says so (two_persons: off).</span>
      ) : enough ? (
        <>
          <span>These could approve from now on: {state.approvers.join(', ')}. </span>
          <button type="button" class="quiet small-button" data-testid="two-persons-on" onClick={on}>
            Let it take two persons
          </button>
        </>
      ) : (
        <span>
          It takes {state.needed} auditors, doctors or staff with a password of their own to change that; there {state.approvers.length === 1 ? 'is 1' : `are ${state.approvers.length}`}.
        </span>
      )}{' '}
      {failed && <span>{failed}</span>}
    </div>
  )
}

// AskedDialog says that an act waits, and for whom.
export function AskedDialog({ asked, onClose }: { asked: AskedFor; onClose: () => void }) {
  if (!asked.waiting) return null
  return (
    <Dialog title="Waits for a second person" onClose={onClose} testid="asked">
      <p>
        <strong>Nothing has changed yet.</strong> Another person of another duty has to approve this by {day(asked.waiting.expires)} {clock(asked.waiting.expires)}:
      </p>
      <ul class="plain">
        {asked.waiting.what.map((w) => (
          <li key={w}>{w}</li>
        ))}
      </ul>
      <p class="quietly">Who could: {asked.approvers?.join(', ') || 'no person at the moment'}.</p>
      {asked.password_first_half && (
        <>
          <p>The first half of the one-time password. The approver gets the second; each of you hands over one, with a hyphen between them.</p>
          <p class="codes">
            <code data-testid="first-half">{asked.password_first_half}</code>
          </p>
        </>
      )}
      <div class="actions">
        <button type="button" class="main" data-testid="asked-kept" onClick={onClose}>
          Done
        </button>
      </div>
    </Dialog>
  )
}

const outcomes: Record<Waiting['outcome'], string> = {
  waiting: 'waits',
  expired: 'expired',
  approved: 'approved; not carried out to the end',
  done: 'approved and carried out',
  failed: 'approved, but what it was about had changed',
  refused: 'refused',
  withdrawn: 'taken back',
}

export function ApprovalsPage(p: PageProps) {
  const [list, setList] = useState<Waiting[]>()
  const [failed, setFailed] = useState('')
  const [result, setResult] = useState<{ password_second_half?: string; login?: string; ticket?: string }>()
  const load = () => {
    ask<Waiting[]>('GET', '/api/admin/approvals').then(setList, (e: unknown) => {
      if (e instanceof Refused && e.signedOut) p.onGone()
      else setFailed(words(e))
    })
  }
  useEffect(load, [])
  const decide = (w: Waiting, what: 'approve' | 'refuse') => {
    setFailed('')
    ask<{ password_second_half?: string; login?: string; secret?: string } | undefined>('POST', `/api/admin/approvals/${encodeURIComponent(w.id)}/${what}`, {}).then(
      (a) => {
        if (a?.password_second_half) setResult({ password_second_half: a.password_second_half, ...(a.login ? { login: a.login } : {}) })
        else if (a?.secret) setResult({ ticket: JSON.stringify(a) })
        load()
      },
      (e: unknown) => {
        setFailed(words(e))
        load()
      },
    )
  }
  const waiting = list?.filter((w) => w.outcome === 'waiting')
  const over = list?.filter((w) => w.outcome !== 'waiting')
  return (
    <Frame {...p}>
      <h1>Approvals</h1>
      <p class="lead">
        What gives a person or a screen access to patients takes two persons of different duties. Approve only what you know to be right: it is carried out at once, exactly as it stands here, and both names stay in
        the audit log.
      </p>
      <Failed text={failed} testid="approval-failed" />
      {waiting?.length === 0 && (
        <p class="quietly" data-testid="no-approvals">
          Nothing waits for approval.
        </p>
      )}
      <div class="cards">
        {waiting?.map((w) => (
          <section key={w.id} class="panel card" data-testid="approval" aria-label={`Request of ${w.requester_name}`}>
            <h2>
              {w.requester_name || 'A person who is gone'} <span class="unit">{roleWords[w.role] ?? w.role}</span>
            </h2>
            <p class="quietly">
              asked on {day(w.requested)} at {clock(w.requested)}, from {w.workstation.replace(/^spiffe:\/\/[^/]*\//, '')}. Expires {day(w.expires)} {clock(w.expires)}.
            </p>
            <ul>
              {w.what.map((x) => (
                <li key={x}>{x}</li>
              ))}
            </ul>
            <div class="actions actions-left">
              {!w.mine && p.session.role !== 'admin' && (
                <button type="button" class="main main-small" data-testid="approve" onClick={() => decide(w, 'approve')}>
                  Approve
                </button>
              )}
              {(w.mine || p.session.role !== 'admin') && (
                <button type="button" class="quiet danger-text" data-testid="refuse" onClick={() => decide(w, 'refuse')}>
                  {w.mine ? 'Take back' : 'Refuse'}
                </button>
              )}
            </div>
          </section>
        ))}
      </div>
      {over && over.length > 0 && (
        <>
          <h2>The last 30 days</h2>
          <ul class="plain">
            {over.map((w) => (
              <li key={w.id}>
                {day(w.requested)} {clock(w.requested)}, {w.requester_name}: {w.what.join('; ')}.{' '}
                <strong>{outcomes[w.outcome]}</strong>
                {w.decider_name && ` by ${w.decider_name}`}
                {w.note && `: ${w.note}`}
              </li>
            ))}
          </ul>
        </>
      )}
      {result && (
        <Dialog title={result.ticket ? 'The ticket of the display' : 'The second half of the password'} onClose={() => setResult(undefined)} testid="approved">
          {result.ticket ? (
            <p>
              Save it and give it to the requester. It is shown now and never again.{' '}
              <a class="link-button" download="display.ticket" href={`data:application/json,${encodeURIComponent(result.ticket)}`}>
                Save the ticket
              </a>
            </p>
          ) : (
            <>
              <p>
                Give it {result.login ? <>to <strong>{result.login}</strong> </> : ''}in person; the requester gives the first half. The password is both, with a hyphen between them. It is shown now and never again.
              </p>
              <p class="codes">
                <code data-testid="second-half">{result.password_second_half}</code>
              </p>
            </>
          )}
          <div class="actions">
            <button type="button" class="main" data-testid="approved-kept" onClick={() => setResult(undefined)}>
              Done
            </button>
          </div>
        </Dialog>
      )}
    </Frame>
  )
}
