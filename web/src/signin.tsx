import { tr } from './lang'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, type Pending, type Session, type Ways } from './api'
import { Failed, Proof, words } from './dialog'
import { Foot } from './parts'
import { passkeysHere, showPasskey } from './passkey'
import { PasskeyHint } from './passkeyhint'

type Answer = Session | { second_factor: Pending }

// fragment is what the hospital's sign-in came back with.
function fragment(): { note: string; pending?: Pending } {
  const f = window.location.hash
  if (f) window.history.replaceState(null, '', window.location.pathname)
  if (f === '#hospital-sign-in-failed') return { note: tr('The hospital’s sign-in did not succeed, or gives you no role here. Ask an administrator.') }
  const second = /^#second-factor=(.+)$/.exec(f)
  if (second)
    try {
      return { note: '', pending: JSON.parse(decodeURIComponent(second[1]!)) as Pending }
    } catch {
      return { note: '' }
    }
  return { note: '' }
}

export function Brand({ children }: { children: ComponentChildren }) {
  return (
    <div class="frame signin-frame">
      <main id="main" class="signin">
        <div class="panel signin-panel">
          <div class="signin-brand">
            <svg viewBox="0 0 32 32" aria-hidden="true">
              <path d="M2 17h8l3-9 5 16 3-10 2 3h7" />
            </svg>
            <h1>Vitalseal</h1>
          </div>
          {children}
        </div>
      </main>
      <Foot />
    </div>
  )
}

export function SignIn({ onSignedIn, note, ways }: { onSignedIn: (s: Session) => void; note: string; ways: Ways | undefined }) {
  const [busy, setBusy] = useState(false)
  const [came] = useState(fragment)
  const [failed, setFailed] = useState(came.note)
  const [pending, setPending] = useState<Pending | undefined>(came.pending)
  const login = useRef<HTMLInputElement>(null)
  const password = useRef<HTMLInputElement>(null)
  useEffect(() => {
    if (!pending) login.current?.focus()
  }, [pending])

  const take = (a: Answer) => {
    if (typeof a.second_factor === 'object') {
      setBusy(false)
      setPending(a.second_factor)
    } else onSignedIn(a as Session)
  }
  const submit = async (e: Event) => {
    e.preventDefault()
    if (busy) return
    setBusy(true)
    setFailed('')
    try {
      take(await ask<Answer>('POST', '/api/session', { login: login.current?.value ?? '', password: password.current?.value ?? '' }))
    } catch (err) {
      setFailed(err instanceof Refused ? err.message : tr('Signing in failed.'))
      setBusy(false)
      if (password.current) password.current.value = ''
      password.current?.focus()
    }
  }
  const withPasskey = async () => {
    if (busy) return
    setBusy(true)
    setFailed('')
    try {
      const p = await ask<Pending>('POST', '/api/session/passkey', {})
      take(await ask<Answer>('POST', '/api/session/passkey/finish', { id: p.id, passkey: await showPasskey(p.passkey_options) }))
    } catch (err) {
      setFailed(err instanceof Refused ? err.message : tr('No passkey was shown. Sign in with your password, or try again.'))
      setBusy(false)
    }
  }
  if (pending)
    return (
      <Brand>
        <Proof
          pending={pending}
          lead="Your password was right. Now your second factor."
          button="Sign in"
          onCancel={() => setPending(undefined)}
          send={async (proof) => take(await ask<Answer>('POST', '/api/session/second', proof))}
        />
      </Brand>
    )
  return (
    <Brand>
      <form class="form" onSubmit={submit} data-testid="signin-form">
        <p class="signin-lead">{note || tr('Sign in to see the beds in your care.')}</p>
        <label>
          {tr('Login')}
          <input ref={login} data-testid="login" name="login" type="text" autoComplete="username" autoCapitalize="none" spellcheck={false} required maxLength={128} />
        </label>
        <label>
          {tr('Password')}
          <input ref={password} data-testid="password" name="password" type="password" autoComplete="current-password" required maxLength={256} />
        </label>
        <Failed text={failed} testid="signin-failed" />
        <button type="submit" class="main" data-testid="signin" disabled={busy}>
          {busy ? tr('Signing in…') : tr('Sign in')}
        </button>
        {ways && passkeysHere(ways.passkey_host) && (
          <button type="button" class="quiet" data-testid="signin-passkey" disabled={busy} onClick={() => void withPasskey()}>
            {tr('Sign in with a passkey')}
          </button>
        )}
        {ways?.hospital && (
          <a class="button quiet" data-testid="signin-hospital" href="/api/session/oidc">
            {tr('Sign in with the hospital account')}
          </a>
        )}
        {ways && ways.passkey_host && !passkeysHere(ways.passkey_host) && (
          <PasskeyHint host={ways.passkey_host} password />
        )}
        {ways?.display && (
          <a class="back" href="/display">
            {tr('Back to the wall screen')}
          </a>
        )}
        <p class="quietly">{tr('Every look at a patient is written to an audit log.')}</p>
      </form>
    </Brand>
  )
}

// ChooseOwnPassword stands before everything else for who came with a one-time password.
export function ChooseOwnPassword({ session, onDone, onSignOut }: { session: Session; onDone: () => void; onSignOut: () => void }) {
  return (
    <Brand>
      <p class="signin-lead">
        {tr('Welcome,')}{' '}{session.display_name || session.login}{tr('. The password that you used was made by another person and is good for this once. Choose your own to go on.')}
      </p>
      <PasswordForm login={session.login} oldLabel={tr('The one-time password')} onDone={onDone} />
      <button type="button" class="quiet" onClick={onSignOut} data-testid="signout">
        {tr('Sign out')}
      </button>
    </Brand>
  )
}

export function PasswordForm({ login, oldLabel, onDone }: { login: string; oldLabel: string; onDone: () => void }) {
  const [failed, setFailed] = useState('')
  const [busy, setBusy] = useState(false)
  const form = useRef<HTMLFormElement>(null)
  const submit = async (e: Event) => {
    e.preventDefault()
    const d = new FormData(form.current!)
    if (d.get('new') !== d.get('again')) {
      setFailed(tr('The two new passwords differ.'))
      return
    }
    setBusy(true)
    setFailed('')
    try {
      await ask('POST', '/api/account/password', { old: String(d.get('old')), new: String(d.get('new')) })
      form.current?.reset()
      onDone()
    } catch (err) {
      setFailed(err instanceof Refused && err.status === 401 && !err.signedOut ? tr('The old password is not right.') : words(err))
    }
    setBusy(false)
  }
  return (
    <form ref={form} class="form" onSubmit={submit} data-testid="password-form">
      <input type="hidden" name="username" autoComplete="username" value={login} />
      <label>
        {oldLabel}
        <input name="old" data-testid="old-password" type="password" autoComplete="current-password" required maxLength={256} />
      </label>
      <label>
        {tr('New password, at least 10 characters')}
        <input name="new" data-testid="new-password" type="password" autoComplete="new-password" required minLength={10} maxLength={256} />
      </label>
      <label>
        {tr('New password, again')}
        <input name="again" data-testid="again-password" type="password" autoComplete="new-password" required maxLength={256} />
      </label>
      <Failed text={failed} testid="password-failed" />
      <button type="submit" class="main" data-testid="change-password" disabled={busy}>
        {busy ? tr('Changing…') : tr('Change the password')}
      </button>
    </form>
  )
}
