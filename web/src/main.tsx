// Entry: who is signed in decides which page is the first; the address decides the rest.
import { tr } from './lang'
import { render } from 'preact'
import { useCallback, useEffect, useState } from 'preact/hooks'
import './app.css'
import { AccountPage } from './account'
import { AuditorPage } from './audit'
import { AGAIN_MS, Refused, ask, refresh, type Session, type Ways } from './api'
import { ApprovalsPage } from './approvals'
import { DevicesPage } from './devices'
import { Dialog, StepUp } from './dialog'
import { DisplayPage } from './display'
import { StaffPage } from './office'
import { Frame, Gone, Link, Message } from './parts'
import { PatientPage } from './patient'
import { PeoplePage } from './people'
import { QuotasPage } from './quotas'
import { ExplainPage, ReviewsPage } from './review'
import { SensorsPage } from './sensors'
import { ChooseOwnPassword, SignIn } from './signin'
import { Station } from './station'
import { say } from './words'

// An access token lasts five minutes; a live view that is opened again needs one that is still good.
const REFRESH_MS = 4 * 60_000
// How long before the automatic sign-off the page says so.
const WARN_MS = 60_000
// How long the first answer of the hub may take before the page says that the hub is not reached.
const SILENT_MS = 6000
const usedKey = 'vitalseal.used'

function App() {
  const [session, setSession] = useState<Session | null | undefined>(undefined)
  const [path, setPath] = useState(window.location.pathname)
  const [note, setNote] = useState('')
  const [ways, setWays] = useState<Ways>()
  const [away, setAway] = useState<Refused>() // the hub has not been reached since the page was opened
  const [leaving, setLeaving] = useState(0) // seconds until the automatic sign-off; 0: not near

  const go = useCallback((to: string) => {
    const at = new URL(to, window.location.href)
    if (at.pathname + at.search !== window.location.pathname + window.location.search) window.history.pushState(null, '', to)
    setPath(at.pathname)
    window.scrollTo(0, 0)
  }, [])
  useEffect(() => {
    const back = () => setPath(window.location.pathname)
    window.addEventListener('popstate', back)
    return () => window.removeEventListener('popstate', back)
  }, [])

  useEffect(() => {
    let over = false
    const timers: number[] = []
    // untilThere asks again for as long as the hub is away: a page that is opened then comes up by itself.
    const untilThere = <T,>(path: string, background: boolean, got: (answer: T) => void, refused: (e: unknown) => void) => {
      ask<T>('GET', path, undefined, background).then(
        (answer) => over || got(answer),
        (e: unknown) => {
          if (over) return
          if (e instanceof Refused && e.away) {
            setAway(e)
            timers.push(window.setTimeout(() => untilThere(path, background, got, refused), AGAIN_MS))
          } else refused(e)
        },
      )
    }
    untilThere<Ways>('/api/session/ways', true, setWays, () => {})
    untilThere<Session>(
      '/api/session',
      false,
      (s) => {
        setAway(undefined)
        setSession(s)
      },
      (e) => {
        setAway(undefined)
        if (!(e instanceof Refused && e.status === 401)) setNote(e instanceof Error ? e.message : '')
        setSession(null)
      },
    )
    // A hub that takes a request and does not answer it is as good as away.
    timers.push(window.setTimeout(() => setAway((known) => known ?? new Refused(0, say('hubGone'))), SILENT_MS))
    return () => {
      over = true
      timers.forEach((t) => window.clearTimeout(t))
    }
  }, [])
  // A wall screen that is switched on shows the wall.
  useEffect(() => {
    if (ways?.display && session === null && path === '/' && !note && !/sign-in/.test(window.location.search)) window.location.replace('/display')
  }, [ways, session])

  // What was on the screen is gone with the session: nothing of a patient stays behind.
  const gone = useCallback(() => {
    setNote(tr('You were signed out. Sign in again to go on.'))
    setSession(null)
  }, [])
  const signOut = useCallback(() => {
    void ask('DELETE', '/api/session').then(
      () => {
        setNote(tr('You are signed out.'))
        setSession(null)
        go('/')
      },
      (e: unknown) => {
        if (e instanceof Refused && e.status === 401) gone()
        else window.alert(tr('Signing out did not reach the hub. You are still signed in: close the browser and try again.'))
      },
    )
  }, [])

  // Someone at the keyboard keeps the session alive, in whichever tab; a screen that is not touched signs itself off.
  const signedIn = !!session
  // The hub notes use by the minute: the page leaves a little before the hub would end the session without a warning.
  const idle = Math.max((ways?.idle_seconds ?? 0) - 90, (ways?.idle_seconds ?? 0) / 2) * 1000
  const used = useCallback(() => {
    const last = Number(window.localStorage.getItem(usedKey) ?? 0)
    const now = Date.now()
    if (now - last < 30_000) return
    window.localStorage.setItem(usedKey, String(now))
    ask('GET', '/api/session').catch((e: unknown) => {
      if (e instanceof Refused && e.status === 401) gone()
    })
  }, [])
  useEffect(() => {
    if (!signedIn) return
    window.localStorage.setItem(usedKey, String(Date.now()))
    window.addEventListener('pointerdown', used)
    window.addEventListener('keydown', used)
    const fresh = window.setInterval(() => void refresh(), REFRESH_MS)
    return () => {
      window.removeEventListener('pointerdown', used)
      window.removeEventListener('keydown', used)
      window.clearInterval(fresh)
    }
  }, [signedIn])
  useEffect(() => {
    if (!signedIn || !idle) return
    const t = window.setInterval(() => {
      const left = Number(window.localStorage.getItem(usedKey) ?? 0) + idle - Date.now()
      setLeaving(left < Math.min(WARN_MS, idle / 2) ? Math.max(1, Math.ceil(left / 1000)) : 0)
      if (left > 0) return
      setLeaving(0)
      ask('DELETE', '/api/session').catch(() => {})
      setNote(tr('You were signed out because this screen was not used. Sign in again to go on.'))
      setSession(null)
    }, 1000)
    return () => window.clearInterval(t)
  }, [signedIn, idle])

  useEffect(() => {
    document.title = session === null ? tr('Sign in · Vitalseal') : path.startsWith('/patient/') ? tr('Patient · Vitalseal') : 'Vitalseal'
  }, [session, path])

  if (session === undefined)
    return away ? (
      <main id="main" class="frame">
        <Message title={tr('Hub not reached')} testid="hub-away">
          <Gone failed={away} />
        </Message>
      </main>
    ) : null
  if (session === null)
    return (
      <SignIn
        note={note}
        ways={ways}
        onSignedIn={(s) => {
          setNote('')
          setSession(s)
        }}
      />
    )

  if (session.must_change_password)
    return (
      <ChooseOwnPassword
        session={session}
        onSignOut={signOut}
        onDone={() => {
          ask<Session>('GET', '/api/session').then(setSession, gone)
        }}
      />
    )
  return (
    <>
      <Page session={session} ways={ways} path={path} go={go} onSignOut={signOut} onGone={gone} />
      <StepUp />
      {leaving > 0 && (
        <Dialog title={tr('Are you still there?')} onClose={used} testid="leaving">
          <p>
            {tr('This screen has not been used for a while. You will be signed out in')}{' '}<strong>{leaving} s</strong>.
          </p>
          <div class="actions">
            <button
              type="button"
              class="main"
              data-testid="stay"
              onClick={() => {
                used()
                setLeaving(0)
              }}
            >
              {tr('I am here')}
            </button>
          </div>
        </Dialog>
      )}
    </>
  )
}

function Page({ session, ways, path, go, onSignOut, onGone }: {
  session: Session
  ways: Ways | undefined
  path: string
  go: (to: string) => void
  onSignOut: () => void
  onGone: () => void
}) {
  const page = { session, go, onSignOut, onGone }
  const match = /^\/patient\/([^/]+)$/.exec(path)
  let opened = match ? safeDecode(match[1]!) : undefined
  if (!opened && path === '/' && session.role === 'patient') {
    opened = session.self_patient
    if (!opened)
      return (
        <Frame {...page}>
          <Message title={tr('Nothing to show yet')} testid="empty">
            <p>{tr('Your sign-in is not linked to a patient. Please ask the ward.')}</p>
          </Message>
        </Frame>
      )
  }
  if (opened) return <PatientPage key={opened} id={opened} {...page} />
  if (path === '/account') return <AccountPage {...page} ways={ways} />
  if (path === '/explain' && (session.role === 'auditor' || session.role === 'admin')) return <ExplainPage {...page} />
  if (path === '/approvals' && ['admin', 'auditor', 'doctor', 'staff'].includes(session.role)) return <ApprovalsPage {...page} />
  if (path === '/reviews' && session.role === 'auditor') return <ReviewsPage {...page} />
  if (path === '/sensors' && (session.role === 'nurse' || session.role === 'staff')) return <SensorsPage {...page} />
  if (path === '/people' && session.role === 'admin') return <PeoplePage {...page} />
  if (path === '/quotas' && session.role === 'admin') return <QuotasPage {...page} />
  if (path === '/devices' && session.role === 'admin') return <DevicesPage {...page} />
  if (path !== '/')
    return (
      <Frame {...page}>
        <Message title={tr('There is no such page')} testid="failed">
          <Link to="/" go={go} class="back">
            {tr('← Start page')}
          </Link>
        </Message>
      </Frame>
    )
  switch (session.role) {
    case 'staff':
      return <StaffPage {...page} />
    case 'auditor':
      return <AuditorPage {...page} />
    case 'admin':
      return <DevicesPage {...page} />
    default:
      return <Station {...page} />
  }
}

function safeDecode(s: string): string | undefined {
  try {
    return decodeURIComponent(s)
  } catch {
    return undefined
  }
}

const root = document.getElementById('app')
if (root) {
  root.replaceChildren()
  render(window.location.pathname === '/display' ? <DisplayPage /> : <App />, root)
}
