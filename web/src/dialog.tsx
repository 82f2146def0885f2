// Dialogs: a modal frame, and the one that asks for a fresh proof of identity.
import { tr } from './lang'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, onProofNeeded, type Pending } from './api'
import { showPasskey } from './passkey'

export function Dialog({ title, onClose, children, testid, wide }: {
  title: string
  onClose: () => void
  children: ComponentChildren
  testid: string
  wide?: boolean
}) {
  const ref = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const d = ref.current
    if (d && !d.open) d.showModal()
    return () => d?.close()
  }, [])
  return (
    <dialog
      ref={ref}
      class={wide ? 'dialog dialog-wide' : 'dialog'}
      aria-label={title}
      data-testid={testid}
      onCancel={(e) => {
        e.preventDefault()
        onClose()
      }}
    >
      <h2>{title}</h2>
      {children}
    </dialog>
  )
}

export function Failed({ text, testid }: { text: string; testid: string }) {
  return (
    <p class="signin-failed" role="alert" data-testid={testid}>
      {text}
    </p>
  )
}

export const words = (e: unknown): string => (e instanceof Refused || e instanceof Error ? e.message : tr('That failed.'))

// Proof asks for one of the methods and hands what was shown to send. It is a form of its own.
export function Proof({ pending, send, lead, button, onCancel }: {
  pending: Pending
  send: (proof: Record<string, unknown>) => Promise<void>
  lead: string
  button: string
  onCancel: () => void
}) {
  const typed = (['totp', 'password', 'recovery'] as const).filter((m) => pending.methods.includes(m))
  const [method, setMethod] = useState(typed[0])
  const [failed, setFailed] = useState('')
  const [busy, setBusy] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  useEffect(() => input.current?.focus(), [method])

  const attempt = async (proof: () => Promise<Record<string, unknown>>) => {
    if (busy) return
    setBusy(true)
    setFailed('')
    try {
      await send({ id: pending.id, ...(await proof()) })
    } catch (e) {
      setFailed(
        e instanceof Refused && e.status === 401 && !e.signedOut
          ? tr('That was not right. Try again; if it stays so, cancel and begin anew.')
          : e instanceof Refused && e.status === 429
            ? tr('Too many tries. Wait {0}, then try again.', e.retryAfter > 0 ? tr('{0} seconds', e.retryAfter) : tr('a little'))
            : words(e),
      )
      setBusy(false)
      if (input.current) input.current.value = ''
      input.current?.focus()
    }
  }
  const field = {
    password: { label: tr('Password'), type: 'password' as const, complete: 'current-password', mode: 'text' as const },
    totp: { label: tr('Six digits from your authenticator app'), type: 'text' as const, complete: 'one-time-code', mode: 'numeric' as const },
    recovery: { label: tr('One of your recovery codes'), type: 'text' as const, complete: 'off', mode: 'text' as const },
  }
  const asked = method ? field[method] : undefined
  return (
    <form
      class="form"
      onSubmit={(e) => {
        e.preventDefault()
        if (method) void attempt(async () => ({ [method]: input.current?.value ?? '' })) // as typed: the hub takes off what does not count
      }}
    >
      <p class="lead">{lead}</p>
      {pending.methods.includes('passkey') && (
        <button type="button" class={asked ? 'quiet' : 'main'} data-testid="prove-passkey" disabled={busy}
          onClick={() => void attempt(async () => ({ passkey: await showPasskey(pending.passkey_options) }))}>
          {tr('Use a passkey')}
        </button>
      )}
      {asked && (
        <label>
          {asked.label}
          <input ref={input} key={method} data-testid={`prove-${method}`} {...(asked.type === 'password' ? { type: 'password' as const } : { type: 'text' as const })} autoComplete={asked.complete} inputMode={asked.mode} required maxLength={256} spellcheck={false} />
        </label>
      )}
      <Failed text={failed} testid="prove-failed" />
      <div class="actions">
        <button type="button" class="quiet" onClick={onCancel} data-testid="prove-cancel">
          {tr('Cancel')}
        </button>
        {asked && (
          <button type="submit" class="main" data-testid="prove" disabled={busy}>
            {busy ? tr('Checking…') : button}
          </button>
        )}
      </div>
      {typed
        .filter((m) => m !== method)
        .map((m) => (
          <button type="button" key={m} class="link-button" data-testid={`other-${m}`} onClick={() => setMethod(m)}>
            {m === 'recovery' ? tr('Use a recovery code instead') : m === 'totp' ? tr('Use the authenticator app instead') : tr('Use the password instead')}
          </button>
        ))}
    </form>
  )
}

// StepUp is the dialog that opens when a request needs a fresh proof; the request is repeated afterwards.
export function StepUp() {
  const [open, setOpen] = useState<{ pending: Pending; done: (ok: boolean) => void }>()
  useEffect(() => {
    onProofNeeded(async () => {
      const pending = await ask<Pending>('POST', '/api/session/step-up/begin', {}).catch(() => undefined)
      if (!pending) return false
      return new Promise<boolean>((resolve) => setOpen({ pending, done: resolve }))
    })
    return () => onProofNeeded(undefined)
  }, [])
  if (!open) return null
  const end = (ok: boolean) => {
    setOpen(undefined)
    open.done(ok)
  }
  return (
    <Dialog title={tr('Is it still you?')} onClose={() => end(false)} testid="step-up">
      <Proof
        pending={open.pending}
        lead={tr('This step needs a fresh proof of who you are. It is good for five minutes.')}
        button={tr('Go on')}
        onCancel={() => end(false)}
        send={async (proof) => {
          await ask('POST', '/api/session/step-up', proof)
          end(true)
        }}
      />
    </Dialog>
  )
}
