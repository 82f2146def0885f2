// The administrator's page of components: what there is, what state it is in, and tickets for new ones.
import { hubSays, tr } from './lang'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask } from './api'
import { AskedDialog, type AskedFor } from './approvals'
import { Dialog, Failed, words } from './dialog'
import { Table, type PageProps } from './office'
import { Frame } from './parts'
import { Pick } from './people'
import { AddSensors, MoveSensor, Questions, purposeOf, sensorsOf, useMeant } from './place'
import { QR } from './qr'
import { Detail } from './security'
import { clock, day, hubFinds, say, span } from './words'

interface Device {
  id: string
  kind: string
  model: string
  serial: string
  state: string
  bed: string
  gateway: string
  mode?: string
  wards?: string[]
  enrolled_by: string
  enrolled: string | null
  last_seen: string | null
  version: string
  certificate?: { sha256: string; not_before: string; not_after: string }
  new_key_demanded?: boolean
  trouble?: { text: string; at: string }
  alert?: { text: string; at: string }
  clock?: { known: boolean; ahead_seconds: number; error_seconds: number; measured: string | null; problem?: string; waiting_chunks: number }
}

const short = (id: string) => id.replace(/^spiffe:\/\/[^/]*\//, '')

export function DevicesPage(p: PageProps) {
  const [devices, setDevices] = useState<Device[]>()
  const [failed, setFailed] = useState('')
  const [done, setDone] = useState('')
  const [open, setOpen] = useState<Device>()
  const [inviting, setInviting] = useState(false)
  const [ticket, setTicket] = useState<{ name: string; text: string }>()
  const [sure, setSure] = useState(false)
  const [asked, setAsked] = useState<AskedFor>()
  const [adding, setAdding] = useState<{ gateway: string; replaces?: string }>()

  const fail = (e: unknown) => {
    if (e instanceof Refused && e.signedOut) p.onGone()
    else setFailed(words(e))
  }
  const load = (background: boolean) => {
    ask<Device[]>('GET', '/api/admin/inventory', undefined, background).then(setDevices, fail)
  }
  useEffect(() => {
    load(false)
    const t = window.setInterval(() => load(true), 10_000)
    return () => window.clearInterval(t)
  }, [])
  const change = async (d: Device, what: string, said: string) => {
    setFailed('')
    setDone('')
    setOpen(undefined)
    try {
      const answer = await ask<AskedFor | undefined>('POST', `/api/admin/identities/${short(d.id)}/${what}`, {})
      if (answer?.waiting) setAsked(answer)
      else setDone(`${short(d.id)}: ${said}`)
    } catch (e) {
      fail(e)
    }
    load(false)
  }
  const seen = (d: Device) => (d.last_seen ? tr('{0} ago', span((Date.now() - Date.parse(d.last_seen)) / 1000)) : tr('never'))
  return (
    <Frame {...p}>
      <div class="title-row">
        <h1>{tr('Devices')}</h1>
        <button type="button" class="main main-small" data-testid="invite" onClick={() => setInviting(true)}>
          {tr('Invite a device')}
        </button>
      </div>
      <p class="lead">{tr('Every component and its identity. Disabling one cuts its open connections at once.')}</p>
      <Failed text={failed} testid="devices-failed" />
      <p class="done" role="status" data-testid="devices-done">
        {done}
      </p>
      {!devices && !failed && <p class="quietly">{tr('Fetching…')}</p>}
      {devices && (
        <Table head={[tr('Identity'), tr('Model'), tr('Serial'), tr('Bed'), tr('State'), tr('Certificate until'), tr('Version'), tr('Last seen'), '']} testid="inventory">
          {devices.map((d) => (
            <tr key={d.id}>
              <td>
                {short(d.id)} {d.mode === 'display' && <span class="unit">{tr('wall screen')}</span>}
              </td>
              <td>{d.model}</td>
              <td>{d.serial}</td>
              <td>{d.bed}</td>
              <td>
                <span class={d.state === 'active' ? 'mark-ok' : d.state === 'disabled' ? 'mark-no' : ''}>{hubSays(d.state)}</span>
                {d.trouble && (
                  <div class="mark-no" data-testid={`trouble-${short(d.id)}`}>
                    <Detail text={d.trouble.text} />{tr(', since')}{' '}{day(d.trouble.at)} {clock(d.trouble.at)}
                  </div>
                )}
                {d.alert && (
                  <div class="unit" data-testid={`alert-${short(d.id)}`}>
                    {day(d.alert.at)} {clock(d.alert.at)}: <Detail text={d.alert.text} />
                  </div>
                )}
                {d.clock?.problem && (
                  <span class="mark-no" data-testid={`clock-${short(d.id)}`}>
                    {' '}
                    {hubFinds(d.clock.problem)}
                  </span>
                )}
                {!!d.clock?.waiting_chunks && <span class="unit"> {d.clock.waiting_chunks}{' '}{tr('chunks wait for their time')}</span>}
                {d.new_key_demanded && <span class="unit">{' '}{tr('new key at next renewal')}</span>}
              </td>
              <td>{d.certificate ? `${day(d.certificate.not_after)} ${clock(d.certificate.not_after)}` : ''}</td>
              <td>{d.version}</td>
              <td>{seen(d)}</td>
              <td class="num">
                <button type="button" class="quiet small-button" aria-label={tr('Change {0}', short(d.id))} data-testid={`device-${short(d.id)}`}
                  onClick={() => {
                    setSure(false)
                    setOpen(d)
                  }}>
                  {tr('Change…')}
                </button>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {open && (
        <Dialog title={short(open.id)} onClose={() => setOpen(undefined)} testid="device">
          <dl class="facts">
            <dt>{tr('Identity')}</dt>
            <dd>{open.id}</dd>
            {open.gateway && (
              <>
                <dt>{tr('Gateway')}</dt>
                <dd>{short(open.gateway)}</dd>
              </>
            )}
            {open.enrolled && (
              <>
                <dt>{tr('Enrolled')}</dt>
                <dd>
                  {day(open.enrolled)} {clock(open.enrolled)}{tr(', ticket by')}{' '}{open.enrolled_by}
                </dd>
              </>
            )}
            {open.clock && (
              <>
                <dt>{tr('Clock of its gateway')}</dt>
                <dd>
                  {hubFinds(open.clock.problem ?? '') || (open.clock.known ? tr('right within {0} s of the hub’s', open.clock.error_seconds.toFixed(1)) : tr('not measured'))}
                  {open.clock.waiting_chunks > 0 &&
                    tr('; {0} chunks are on no chart until the clock is set right, or you say when they were measured (vitalseal identity clock)', open.clock.waiting_chunks)}
                </dd>
              </>
            )}
            {open.certificate && (
              <>
                <dt>{tr('Certificate')}</dt>
                <dd>SHA-256 {open.certificate.sha256}</dd>
              </>
            )}
          </dl>
          {open.kind === 'sensor' && open.state !== 'deleted' && (
            <MoveSensor key={open.id} name={short(open.id).replace(/^sensor\//, '')} bed={open.bed} model={open.model}
              others={(devices ?? []).some((d) => d.id !== open.id && d.kind === 'sensor' && d.state === 'active' && d.bed === open.bed && purposeOf(d.model) === purposeOf(open.model))}
              onDone={(said) => {
                setOpen(undefined)
                setDone(`${short(open.id)}: ${said}`)
                load(false)
              }} />
          )}
          <div class="choices">
            {open.kind === 'gateway' && open.state !== 'deleted' && (
              <button type="button" class="quiet" data-testid="device-add" onClick={() => {
                setOpen(undefined)
                setAdding({ gateway: short(open.id).replace(/^gateway\//, '') })
              }}>
                {say('addSensors')}
              </button>
            )}
            {open.kind === 'sensor' && open.gateway && open.state !== 'deleted' && (
              <button type="button" class="quiet" data-testid="device-replace" onClick={() => {
                setOpen(undefined)
                setAdding({ gateway: short(open.gateway).replace(/^gateway\//, ''), replaces: short(open.id).replace(/^sensor\//, '') })
              }}>
                {say('replaceSensor')}
              </button>
            )}
            {open.state === 'disabled' ? (
              <button type="button" class="quiet" data-testid="device-enable" onClick={() => void change(open, 'enable', tr('let back in.'))}>
                {tr('Let it back in')}
              </button>
            ) : (
              <button type="button" class="quiet" data-testid="device-disable" onClick={() => void change(open, 'disable', tr('kept out; its connections have ended.'))}>
                {tr('Keep it out (disable)')}
              </button>
            )}
            {open.state === 'active' && (
              <button type="button" class="quiet" data-testid="device-rotate" onClick={() => void change(open, 'rotate', tr('must bring a new key at its next renewal.'))}>
                {tr('Demand a new key (rotate)')}
              </button>
            )}
            <label class="pick-one">
              <input type="checkbox" checked={sure} onChange={(e) => setSure(e.currentTarget.checked)} data-testid="device-sure" />
              <span>{tr('Delete it for good: its name cannot be used again once it has enrolled. A broken device is not deleted but gets a new ticket.')}</span>
            </label>
            <button type="button" class="quiet danger-text" disabled={!sure} data-testid="device-delete" onClick={() => void change(open, 'delete', tr('deleted.'))}>
              {tr('Delete')}
            </button>
          </div>
          <div class="actions">
            <button type="button" class="quiet" onClick={() => setOpen(undefined)}>
              {tr('Close')}
            </button>
          </div>
        </Dialog>
      )}
      {inviting && (
        <Invite
          onClose={() => setInviting(false)}
          onDone={(t) => {
            setInviting(false)
            setTicket(t)
            load(false)
          }}
        />
      )}
      {adding && (
        <AddSensors
          {...adding}
          onClose={() => setAdding(undefined)}
          onDone={(t) => {
            setAdding(undefined)
            setTicket(t)
            load(false)
          }}
        />
      )}
      {ticket && <Ticket {...ticket} onClose={() => setTicket(undefined)} />}
      {asked && <AskedDialog asked={asked} onClose={() => setAsked(undefined)} />}
    </Frame>
  )
}

const kinds = {
  workstations: tr('Workstation'),
  display: tr('Wall screen'),
  gateways: tr('Gateway with its sensors'),
  routers: tr('Router'),
  hubs: tr('Hub'),
}

function Invite({ onClose, onDone }: { onClose: () => void; onDone: (t: { name: string; text: string }) => void }) {
  const [kind, setKind] = useState<keyof typeof kinds>('workstations')
  const [wards, setWards] = useState<{ id: string; name: string }[]>([])
  const [chosen, setChosen] = useState<string[]>([])
  const m = useMeant()
  const [asked, setAsked] = useState<AskedFor>()
  const id = useRef<HTMLInputElement>(null)
  const sensors = useRef<HTMLTextAreaElement>(null)
  useEffect(() => {
    ask<{ id: string; name: string }[]>('GET', '/api/admin/wards').then(setWards, () => {})
  }, [])
  const submit = async (e: Event) => {
    e.preventDefault()
    if (m.busy) return
    const name = id.current?.value ?? ''
    const body: Record<string, unknown> = { id: name }
    if (kind === 'display') Object.assign(body, { mode: 'display', wards: chosen })
    if (kind === 'gateways')
      body.sensors = sensorsOf(sensors.current?.value ?? '')
    const t = await m.run<AskedFor>(`/api/admin/${kind === 'display' ? 'workstations' : kind}`, body)
    if (t?.waiting) setAsked(t)
    else if (t) onDone({ name, text: JSON.stringify(t) })
  }
  if (asked) return <AskedDialog asked={asked} onClose={onClose} />
  return (
    <Dialog title={tr('Invite a device')} onClose={onClose} testid="invite-form">
      <form class="form" onSubmit={submit} onInput={m.clear}>
        <p class="lead">{tr('It gets a ticket, good for one enrolment and a short time.')}</p>
        <label>
          {tr('What is it?')}
          <select value={kind} onChange={(e) => setKind(e.currentTarget.value as keyof typeof kinds)} data-testid="invite-kind">
            {Object.entries(kinds).map(([k, v]) => (
              <option key={k} value={k}>
                {v}
              </option>
            ))}
          </select>
        </label>
        <label>
          {tr('Short name')}
          <input ref={id} data-testid="invite-id" required maxLength={63} pattern="[a-z0-9]([a-z0-9.\-]*[a-z0-9])?" autoCapitalize="none" spellcheck={false} placeholder="desk-2" />
        </label>
        {kind === 'display' && (
          <Pick legend={tr('Which wards does it show?')} all={wards} chosen={chosen} toggle={(w) => setChosen((c) => (c.includes(w) ? c.filter((x) => x !== w) : [...c, w]))} />
        )}
        {kind === 'gateways' && (
          <label>
            {tr('Its sensors, one a line: name, model, serial number, bed')}
            <textarea ref={sensors} rows={5} spellcheck={false} placeholder={'oxi-a-1 MAX30100 A17 a-1\nadc-1 MCP3008 B02'} />
          </label>
        )}
        <Questions found={m.questions} />
        <Failed text={m.failed} testid="invite-failed" />
        <div class="actions">
          <button type="button" class="quiet" onClick={onClose}>
            {tr('Cancel')}
          </button>
          <button type="submit" class="main" data-testid="invite-make" disabled={m.busy}>
            {m.busy ? tr('Making it…') : m.questions.length > 0 ? say('doIt') : tr('Make the ticket')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

function Ticket({ name, text, onClose }: { name: string; text: string; onClose: () => void }) {
  const [href, setHref] = useState('')
  useEffect(() => {
    const u = URL.createObjectURL(new Blob([text + '\n'], { type: 'application/json' }))
    setHref(u)
    return () => URL.revokeObjectURL(u)
  }, [text])
  return (
    <Dialog title={tr('Ticket for {0}', name)} onClose={onClose} testid="ticket">
      <p>
        {tr('Its holder can enrol as this device, once. It is shown now and never again. On the device:')}{' '}<code>vitalseal enrol --ticket {name}.ticket --data DIR</code>
      </p>
      <QR text={text} label={tr('QR code of the ticket for {0}', name)} />
      <div class="actions">
        <a class="button main main-small" href={href} download={`${name}.ticket`} data-testid="ticket-download">
          {tr('Save the file')}
        </a>
        <button type="button" class="quiet" onClick={onClose}>
          {tr('Done')}
        </button>
      </div>
    </Dialog>
  )
}
