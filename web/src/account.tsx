// One's own account: password, second factors, passkeys, recovery codes, API keys, all sessions.
import { tr } from './lang'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, type Ways } from './api'
import { Dialog, Failed, words } from './dialog'
import type { PageProps } from './office'
import { Frame } from './parts'
import { makePasskey, passkeysHere } from './passkey'
import { PasskeyHint } from './passkeyhint'
import { QR } from './qr'
import { PasswordForm } from './signin'
import { day } from './words'

interface Factor {
  id: string
  kind: 'totp' | 'passkey' | 'recovery'
  name?: string
  created: string
  last_used?: string
}

interface Key {
  id: string
  channel: number // 0: none
  talkback?: number
  write: boolean
}

interface Channel {
  channel: number
  bed_name: string
  ward_name: string
}

const kinds = { totp: tr('Authenticator app'), passkey: tr('Passkey'), recovery: tr('Recovery codes') }

export function AccountPage(p: PageProps & { ways: Ways | undefined }) {
  const [factors, setFactors] = useState<Factor[]>()
  const [keys, setKeys] = useState<Key[]>()
  const [channels, setChannels] = useState<Channel[]>([])
  const [failed, setFailed] = useState('')
  const [done, setDone] = useState('')
  const [codes, setCodes] = useState<string[]>()
  const [totp, setTOTP] = useState<{ secret: string; uri: string }>()
  const [newKey, setNewKey] = useState('')
  const name = useRef<HTMLInputElement>(null)
  const channel = useRef<HTMLInputElement>(null)

  const fail = (e: unknown) => {
    if (e instanceof Refused && e.signedOut) p.onGone()
    else setFailed(words(e))
  }
  const load = () => {
    ask<Factor[]>('GET', '/api/account/factors').then(setFactors, fail)
    ask<Key[]>('GET', '/api/account/keys').then(setKeys, fail)
    ask<Channel[]>('GET', '/api/account/channels').then(setChannels, () => {})
  }
  useEffect(load, [])
  // act does one thing; a second factor may be asked for on the way.
  const act = async (said: string, f: () => Promise<unknown>) => {
    setFailed('')
    setDone('')
    try {
      await f()
      setDone(said)
      load()
    } catch (e) {
      fail(e)
    }
  }
  const here = passkeysHere(p.ways?.passkey_host ?? '')
  const strong = factors?.some((f) => f.kind !== 'recovery')
  return (
    <Frame {...p}>
      <h1>{tr('Your account')}</h1>
      <p class="lead">
        {p.session.display_name || p.session.login}{tr(', login')}{' '}<code>{p.session.login}</code>
        {strong === false && tr('. A second factor keeps your account yours, even if your password becomes known.')}
      </p>
      <Failed text={failed} testid="account-failed" />
      <p class="done" role="status" data-testid="account-done">
        {done}
      </p>
      <div class="cards">
        <section class="panel card" aria-label={tr('Second factors')} data-testid="factors">
          <h2>{tr('Second factors')}</h2>
          {factors?.length === 0 && <p class="quietly">{tr('None yet: your password alone lets you in.')}</p>}
          <ul class="plain">
            {factors?.map((f) => (
              <li key={f.id} class="switch-row" data-testid={`factor-${f.kind}`}>
                <span>
                  {kinds[f.kind]} {f.name && f.name !== kinds[f.kind] && <span class="unit">{f.name}</span>}
                  <br />
                  <span class="unit">
                    {day(f.created)}
                    {f.last_used && tr(', used {0}', day(f.last_used))}
                  </span>
                </span>
                <button type="button" class="quiet" aria-label={tr('Remove {0} {1}', kinds[f.kind], f.name ?? '')} onClick={() => void act(tr('Removed.'), () => ask('DELETE', `/api/account/factors/${encodeURIComponent(f.id)}`))}>
                  {tr('Remove')}
                </button>
              </li>
            ))}
          </ul>
          <div class="actions actions-left">
            <button type="button" class="quiet" data-testid="add-totp" onClick={() => void act('', async () => setTOTP(await ask('POST', '/api/account/totp', {})))}>
              {tr('Add an authenticator app')}
            </button>
            {strong && (
              <button type="button" class="quiet" data-testid="new-recovery" onClick={() => void act('', async () => setCodes((await ask<{ recovery: string[] }>('POST', '/api/account/recovery', {})).recovery))}>
                {tr('New recovery codes')}
              </button>
            )}
          </div>
          {here ? (
            <form
              class="row"
              onSubmit={(e) => {
                e.preventDefault()
                void act(tr('The passkey is added: next time, sign in with it.'), async () => {
                  const options = await ask('POST', '/api/account/passkeys', {})
                  await ask('POST', '/api/account/passkeys/finish', { name: name.current?.value || tr('Passkey'), response: await makePasskey(options) })
                })
              }}
            >
              <label class="sr" for="passkey-name">
                {tr('Name of the passkey')}
              </label>
              <input id="passkey-name" ref={name} maxLength={64} placeholder={tr('Name, such as: key at the desk')} data-testid="passkey-name" />
              <button type="submit" class="quiet" data-testid="add-passkey">
                {tr('Add a passkey')}
              </button>
            </form>
          ) : (
            p.ways?.passkey_host && <PasskeyHint host={p.ways.passkey_host} />
          )}
        </section>
        <section class="panel card" aria-label={tr('Password')}>
          <h2>{tr('Password')}</h2>
          <p class="quietly">{tr('Changing it ends your other sessions.')}</p>
          <PasswordForm login={p.session.login} oldLabel={tr('Old password')} onDone={() => setDone(tr('The password is changed.'))} />
        </section>
        <section class="panel card" aria-label={tr('API keys')} data-testid="keys">
          <h2>{tr('API keys (ThingSpeak)')}</h2>
          <p class="quietly">{tr('A key lets a program at an enrolled workstation read one channel in your name: never more than you may see yourself.')}</p>
          <ul class="plain">
            {keys?.map((k) => (
              <li key={k.id} class="switch-row">
                <span>
                  {k.talkback ? tr('TalkBack {0}', k.talkback) : k.channel ? tr('Channel {0}', k.channel) : tr('Account')}{' '}
                  <span class="unit">{k.talkback ? tr('queues and takes commands') : !k.channel ? tr('makes and manages your free channels') : k.write ? 'writes' : 'reads'}</span>
                  <br />
                  {k.channel !== 0 && <span class="unit">{where(channels, k.channel)}</span>}
                </span>
                <button type="button" class="quiet" onClick={() => void act(tr('The key no longer works.'), () => ask('DELETE', `/api/account/keys/${k.id}`))}>
                  {tr('Delete')}
                </button>
              </li>
            ))}
          </ul>
          <form
            class="row"
            onSubmit={(e) => {
              e.preventDefault()
              void act('', async () =>
                setNewKey((await ask<{ key: string }>('POST', '/api/account/keys', { channel: Number(channel.current?.value), write: false })).key),
              )
            }}
          >
            <label class="sr" for="key-channel">
              {tr('Number of the channel')}
            </label>
            <input id="key-channel" ref={channel} type="number" min={1} required list="channels" placeholder={tr('Channel')} data-testid="key-channel" />
            <datalist id="channels">
              {channels.map((c) => (
                <option key={c.channel} value={c.channel}>
                  {c.bed_name}, {c.ward_name}
                </option>
              ))}
            </datalist>
            <button type="submit" class="quiet" data-testid="add-key">
              {tr('Make a key')}
            </button>
          </form>
        </section>
        <section class="panel card" aria-label={tr('Sessions')}>
          <h2>{tr('Everywhere')}</h2>
          <p class="quietly">{tr('If you left a screen open somewhere, or your password may be known: end all your sessions, this one too.')}</p>
          <button type="button" class="quiet" data-testid="signout-everywhere" onClick={() => void act('', async () => {
            await ask('DELETE', '/api/session/all')
            p.onGone()
          })}>
            {tr('Sign out everywhere')}
          </button>
        </section>
      </div>
      {totp && (
        <AddTOTP
          {...totp}
          onClose={() => setTOTP(undefined)}
          onDone={(recovery) => {
            setTOTP(undefined)
            if (recovery.length > 0) setCodes(recovery)
            setDone(tr('The authenticator app is added.'))
            load()
          }}
        />
      )}
      {codes && (
        <Dialog title={tr('Your recovery codes')} onClose={() => setCodes(undefined)} testid="recovery">
          <p>{tr('If you lose your second factor, each of these lets you in once. They are shown now and never again: print them, or write them down, and keep them where only you look.')}</p>
          <ul class="codes" data-testid="recovery-codes">
            {codes.map((c) => (
              <li key={c}>
                <code>{c}</code>
              </li>
            ))}
          </ul>
          <div class="actions">
            <button type="button" class="quiet" onClick={() => window.print()}>
              {tr('Print')}
            </button>
            <button type="button" class="main" data-testid="recovery-kept" onClick={() => setCodes(undefined)}>
              {tr('I have kept them')}
            </button>
          </div>
        </Dialog>
      )}
      {newKey && (
        <Dialog title={tr('Your new key')} onClose={() => setNewKey('')} testid="new-key">
          <p>{tr('It is shown now and never again.')}</p>
          <p class="codes">
            <code>{newKey}</code>
          </p>
          <div class="actions">
            <button type="button" class="main" onClick={() => setNewKey('')}>
              {tr('I have kept it')}
            </button>
          </div>
        </Dialog>
      )}
    </Frame>
  )
}

function where(channels: Channel[], n: number): string {
  const c = channels.find((c) => c.channel === n)
  return c ? `${c.bed_name}, ${c.ward_name}` : ''
}

function AddTOTP({ secret, uri, onDone, onClose }: { secret: string; uri: string; onDone: (recovery: string[]) => void; onClose: () => void }) {
  const [failed, setFailed] = useState('')
  const code = useRef<HTMLInputElement>(null)
  const submit = async (e: Event) => {
    e.preventDefault()
    setFailed('')
    try {
      onDone((await ask<{ recovery: string[] }>('POST', '/api/account/totp/confirm', { code: code.current?.value ?? '' })).recovery)
    } catch (err) {
      setFailed(err instanceof Refused && err.status === 401 && !err.signedOut ? tr('That is not the code of this moment. Try the next one.') : words(err))
      if (code.current) code.current.value = ''
      code.current?.focus()
    }
  }
  return (
    <Dialog title={tr('Add an authenticator app')} onClose={onClose} testid="totp">
      <form class="form" onSubmit={submit}>
        <p>{tr('Scan this with the app on your phone, or type the secret into it. Then type the six digits that it shows.')}</p>
        <QR text={uri} label={tr('QR code for the authenticator app')} />
        <p class="codes">
          <code data-testid="totp-secret">{secret}</code>
        </p>
        <label>
          {tr('Six digits')}
          <input ref={code} data-testid="totp-code" inputMode="numeric" autoComplete="one-time-code" required maxLength={10} />
        </label>
        <Failed text={failed} testid="totp-failed" />
        <div class="actions">
          <button type="button" class="quiet" onClick={onClose}>
            {tr('Cancel')}
          </button>
          <button type="submit" class="main" data-testid="totp-confirm">
            {tr('Add')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
