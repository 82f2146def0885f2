// The administrator's page of quotas: what each person and workstation uses, of how much, and another limit for one of them.
import { useEffect, useState } from 'preact/hooks'
import { Refused, ask } from './api'
import { Dialog, Failed, words } from './dialog'
import { Table, type PageProps } from './office'
import { Frame } from './parts'
import { bytes, locale, say } from './words'

interface Used {
  used: number
  limit: number
  set?: boolean
}

interface Line {
  id?: string
  entries?: Used
  bytes?: Used
  live_views?: Used
  sessions?: Used
  keys?: Used
  refused: number
}

interface Quotas {
  persons: Line[]
  workstations: Line[]
  hospital: Line
  live_views: Used
  first_live_views: number
  refused: { quota: string; who: string; count: number; last: string }[]
}

interface Person {
  id: string
  login: string
}

type Name = 'entries' | 'bytes' | 'live_views'
type Kind = 'person' | 'station' | 'hospital'
type Open = { kind: Kind; line: Line; title: string }

const short = (id: string) => id.replace(/^spiffe:\/\/[^/]*\//, '')
const label = (n: Name) => say(n === 'entries' ? 'quotaEntries' : n === 'bytes' ? 'quotaBytes' : 'quotaLive')

// Amount is a use and its limit; nearly all of it is said in words, not by colour alone.
function Amount({ of, size }: { of: Used | undefined; size?: boolean }) {
  if (!of) return null
  const show = size ? bytes : (n: number) => n.toLocaleString(locale())
  const near = of.limit > 0 && of.used >= 0.9 * of.limit
  return (
    <>
      {say('quotaOf', show(of.used), show(of.limit))}
      {of.set && <span class="unit"> {say('quotaSet')}</span>}
      {near && <span class="mark-no"> {say(of.used >= of.limit ? 'quotaFull' : 'quotaNear')}</span>}
    </>
  )
}

export function QuotasPage(p: PageProps) {
  const [got, setGot] = useState<Quotas>()
  const [logins, setLogins] = useState<Record<string, string>>({})
  const [failed, setFailed] = useState('')
  const [done, setDone] = useState('')
  const [open, setOpen] = useState<Open>()
  const fail = (e: unknown) => {
    if (e instanceof Refused && e.signedOut) p.onGone()
    else setFailed(words(e))
  }
  const load = (background: boolean) => {
    ask<Quotas>('GET', '/api/admin/quotas', undefined, background).then(setGot, fail)
  }
  useEffect(() => {
    load(false)
    ask<Person[]>('GET', '/api/admin/persons').then((all) => setLogins(Object.fromEntries(all.map((x) => [x.id, x.login]))), fail)
    const t = window.setInterval(() => load(true), 10_000)
    return () => window.clearInterval(t)
  }, [])
  const change = (kind: Kind, line: Line, title: string) => (
    <button type="button" class="quiet small-button" aria-label={say('quotaChangeOf', title)} data-testid={`quota-${title}`} onClick={() => setOpen({ kind, line, title })}>
      {say('quotaChange')}
    </button>
  )
  return (
    <Frame {...p}>
      <h1>{say('quotaTitle')}</h1>
      <p class="lead">{say('quotaLead')}</p>
      <Failed text={failed} testid="quotas-failed" />
      <p class="done" role="status" data-testid="quotas-done">
        {done}
      </p>
      {!got && !failed && <p class="quietly">{say('fetching')}</p>}
      {got && (
        <>
          <h2 class="part-title">{say('quotaPersons')}</h2>
          <Table head={[say('quotaLogin'), say('quotaEntries'), say('quotaBytes'), say('quotaLive'), say('quotaSessions'), say('quotaKeys'), say('quotaRefused'), '']} testid="quota-persons" label={say('quotaPersons')}>
            {got.persons.map((x) => (
              <tr key={x.id}>
                <td>{logins[x.id!] ?? x.id}</td>
                <td>
                  <Amount of={x.entries} />
                </td>
                <td>
                  <Amount of={x.bytes} size />
                </td>
                <td>
                  <Amount of={x.live_views} />
                </td>
                <td>
                  <Amount of={x.sessions} />
                </td>
                <td>
                  <Amount of={x.keys} />
                </td>
                <td>{x.refused}</td>
                <td class="num">{change('person', x, logins[x.id!] ?? x.id!)}</td>
              </tr>
            ))}
            <tr>
              <td>{say('quotaHospital')}</td>
              <td>
                <Amount of={got.hospital.entries} />
              </td>
              <td>
                <Amount of={got.hospital.bytes} size />
              </td>
              <td />
              <td />
              <td />
              <td>{got.hospital.refused}</td>
              <td class="num">{change('hospital', got.hospital, say('quotaHospital'))}</td>
            </tr>
          </Table>
          <h2 class="part-title">{say('quotaStations')}</h2>
          <p>{say('quotaLiveAll', got.live_views.used, got.live_views.limit, got.first_live_views)}</p>
          <Table head={[say('quotaStation'), say('quotaLive'), say('quotaRefused'), '']} testid="quota-stations" label={say('quotaStations')}>
            {got.workstations.map((x) => (
              <tr key={x.id}>
                <td>{short(x.id!)}</td>
                <td>
                  <Amount of={x.live_views} />
                </td>
                <td>{x.refused}</td>
                <td class="num">{change('station', x, short(x.id!))}</td>
              </tr>
            ))}
          </Table>
        </>
      )}
      {open && (
        <Change
          {...open}
          onClose={() => setOpen(undefined)}
          onDone={(said) => {
            setOpen(undefined)
            setFailed('')
            setDone(said)
            load(true)
          }}
          onGone={p.onGone}
        />
      )}
    </Frame>
  )
}

function Change({ kind, line, title, onClose, onDone, onGone }: Open & { onClose: () => void; onDone: (said: string) => void; onGone: () => void }) {
  const names = (['entries', 'bytes', 'live_views'] as Name[]).filter((n) => line[n])
  const [name, setName] = useState<Name>(names[0]!)
  const [limit, setLimit] = useState(String(line[names[0]!]!.limit))
  const [failed, setFailed] = useState('')
  const pick = (n: Name) => {
    setName(n)
    setLimit(String(line[n]!.limit))
  }
  const send = async (value: number) => {
    setFailed('')
    try {
      await ask('PUT', '/api/admin/quotas', { kind, id: line.id ?? '', name, limit: value })
      onDone(value === 0 ? say('quotaBack', title, label(name)) : say('quotaDone', title, label(name), name === 'bytes' ? bytes(value) : value.toLocaleString(locale())))
    } catch (e) {
      if (e instanceof Refused && e.signedOut) onGone()
      else setFailed(words(e))
    }
  }
  const whole = /^[1-9][0-9]{0,14}$/.test(limit.trim())
  return (
    <Dialog title={say('quotaChangeOf', title)} onClose={onClose} testid="quota">
      <form
        class="form"
        onSubmit={(e) => {
          e.preventDefault()
          if (whole) void send(Number(limit.trim()))
          else setFailed(say('quotaWhole'))
        }}
      >
        <label for="quota-name">{say('quotaWhich')}</label>
        <select id="quota-name" value={name} onChange={(e) => pick(e.currentTarget.value as Name)}>
          {names.map((n) => (
            <option key={n} value={n}>
              {label(n)}
            </option>
          ))}
        </select>
        <label for="quota-limit">{say('quotaLimit')}</label>
        <input id="quota-limit" type="text" inputMode="numeric" autoComplete="off" value={limit} onInput={(e) => {
            setLimit(e.currentTarget.value)
            setFailed('')
          }} aria-describedby="quota-hint" />
        <p id="quota-hint" class="quietly">
          {name === 'bytes' && whole ? `${bytes(Number(limit.trim()))}. ` : ''}
          {say('quotaHint')}
        </p>
        <Failed text={failed} testid="quota-failed" />
        <div class="choices">
          <button type="submit" class="main" data-testid="quota-set">
            {say('quotaSave')}
          </button>
          {line[name]!.set && (
            <button type="button" class="quiet" data-testid="quota-default" onClick={() => void send(0)}>
              {say('quotaDefault')}
            </button>
          )}
          <button type="button" class="quiet" onClick={onClose}>
            {say('cancel')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
