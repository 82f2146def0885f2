// Entry: who is signed in decides which page is the first; the address decides the rest.
import { render } from 'preact'
import { useCallback, useEffect, useState } from 'preact/hooks'
import './app.css'
import { Refused, ask, type Session } from './api'
import { AdminPage, AuditorPage, StaffPage } from './office'
import { Frame, Link, Message } from './parts'
import { PatientPage } from './patient'
import { SignIn } from './signin'
import { Station } from './station'

function App() {
  const [session, setSession] = useState<Session | null | undefined>(undefined)
  const [path, setPath] = useState(window.location.pathname)
  const [note, setNote] = useState('')

  const go = useCallback((to: string) => {
    if (to !== window.location.pathname) window.history.pushState(null, '', to)
    setPath(to)
    window.scrollTo(0, 0)
  }, [])
  useEffect(() => {
    const back = () => setPath(window.location.pathname)
    window.addEventListener('popstate', back)
    return () => window.removeEventListener('popstate', back)
  }, [])

  useEffect(() => {
    let over = false
    const find = () =>
      ask<Session>('GET', '/api/session').then(
        (s) => over || setSession(s),
        (e: unknown) => {
          if (over) return
          if (e instanceof Refused && e.status === 401) setSession(null)
          else {
            setNote(e instanceof Error ? e.message : '')
            setSession(null)
          }
        },
      )
    void find()
    return () => {
      over = true
    }
  }, [])

  // What was on the screen is gone with the session: nothing of a patient stays behind.
  const gone = useCallback(() => {
    setNote('You were signed out. Sign in again to go on.')
    setSession(null)
  }, [])
  const signOut = useCallback(() => {
    void ask('DELETE', '/api/session').then(
      () => {
        setNote('You are signed out.')
        setSession(null)
        go('/')
      },
      (e: unknown) => {
        if (e instanceof Refused && e.status === 401) gone()
        else window.alert('Signing out did not reach the hub. You are still signed in: close the browser and try again.')
      },
    )
  }, [])

  // Someone at the keyboard keeps the session alive; a screen that nobody touches signs itself off.
  const signedIn = !!session
  useEffect(() => {
    if (!signedIn) return
    let last = Date.now()
    const used = () => {
      if (Date.now() - last < 60_000) return
      last = Date.now()
      ask('GET', '/api/session').catch((e: unknown) => {
        if (e instanceof Refused && e.status === 401) gone()
      })
    }
    window.addEventListener('pointerdown', used)
    window.addEventListener('keydown', used)
    return () => {
      window.removeEventListener('pointerdown', used)
      window.removeEventListener('keydown', used)
    }
  }, [signedIn])

  useEffect(() => {
    document.title = session === null ? 'Sign in · Vitalseal' : path.startsWith('/patient/') ? 'Patient · Vitalseal' : 'Vitalseal'
  }, [session, path])

  if (session === undefined) return null
  if (session === null)
    return (
      <SignIn
        note={note}
        onSignedIn={(s) => {
          setNote('')
          setSession(s)
        }}
      />
    )

  const page = { session, go, onSignOut: signOut, onGone: gone }
  const match = /^\/patient\/([^/]+)$/.exec(path)
  let opened = match ? safeDecode(match[1]!) : undefined
  if (!opened && path === '/' && session.role === 'patient') {
    opened = session.self_patient
    if (!opened)
      return (
        <Frame {...page}>
          <Message title="Nothing to show yet" testid="empty">
            <p>Your sign-in is not linked to a patient. Please ask the ward.</p>
          </Message>
        </Frame>
      )
  }
  if (opened) return <PatientPage key={opened} id={opened} {...page} />
  if (path !== '/')
    return (
      <Frame {...page}>
        <Message title="There is no such page" testid="failed">
          <Link to="/" go={go} class="back">
            ← Start page
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
      return <AdminPage {...page} />
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
  render(<App />, root)
}
