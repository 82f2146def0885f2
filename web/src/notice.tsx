// The notice of failed sign-ins: what was tried with this login since the person signed in last.
import { tr } from './lang'
import { useState } from 'preact/hooks'
import type { Session } from './api'
import { failedSignIns } from './words'

// It stays until the person has read it. Which one was read is kept for this browser window, not longer.
const READ = 'vitalseal-failed-sign-ins-read'

export function FailedSignIns({ session }: { session: Session }) {
  const failed = session.failed_sign_ins ?? []
  const which = JSON.stringify(failed)
  const [read, setRead] = useState(() => window.sessionStorage.getItem(READ))
  if (failed.length === 0 || read === which) return null
  return (
    <div class="banner" role="alert" data-testid="failed-sign-ins">
      {failedSignIns(failed)}{' '}
      <button
        type="button"
        class="quiet"
        data-testid="failed-sign-ins-read"
        onClick={() => {
          window.sessionStorage.setItem(READ, which)
          setRead(which)
        }}
      >
        {tr('I have read this')}
      </button>
    </div>
  )
}
