import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, type Session } from './api'
import { Foot } from './parts'

export function SignIn({ onSignedIn, note }: { onSignedIn: (s: Session) => void; note: string }) {
  const [busy, setBusy] = useState(false)
  const [failed, setFailed] = useState('')
  const login = useRef<HTMLInputElement>(null)
  const password = useRef<HTMLInputElement>(null)
  useEffect(() => login.current?.focus(), [])

  const submit = async (e: Event) => {
    e.preventDefault()
    if (busy) return
    setBusy(true)
    setFailed('')
    try {
      onSignedIn(await ask<Session>('POST', '/api/session', { login: login.current?.value ?? '', password: password.current?.value ?? '' }))
    } catch (err) {
      setFailed(err instanceof Refused ? err.message : 'Signing in failed.')
      setBusy(false)
      if (password.current) password.current.value = ''
      password.current?.focus()
    }
  }
  return (
    <div class="frame signin-frame">
      <main id="main" class="signin">
        <form class="panel" onSubmit={submit} data-testid="signin-form">
          <div class="signin-brand">
            <svg viewBox="0 0 32 32" aria-hidden="true">
              <path d="M2 17h8l3-9 5 16 3-10 2 3h7" />
            </svg>
            <h1>Vitalseal</h1>
          </div>
          <p class="signin-lead">{note || 'Sign in to see the beds in your care.'}</p>
          <label>
            Login
            <input ref={login} data-testid="login" name="login" type="text" autoComplete="username" autoCapitalize="none" spellcheck={false} required maxLength={128} />
          </label>
          <label>
            Password
            <input ref={password} data-testid="password" name="password" type="password" autoComplete="current-password" required maxLength={256} />
          </label>
          <p class="signin-failed" role="alert" data-testid="signin-failed">
            {failed}
          </p>
          <button type="submit" class="main" data-testid="signin" disabled={busy}>
            {busy ? 'Signing in…' : 'Sign in'}
          </button>
          <p class="quietly">Every look at a patient is written to an audit log.</p>
        </form>
      </main>
      <Foot />
    </div>
  )
}
