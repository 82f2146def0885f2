// The administrator's page of people: who may sign in, as what, and where.
import { tr } from './lang'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask } from './api'
import { AskedDialog, type AskedFor } from './approvals'
import { Dialog, Failed, words } from './dialog'
import { Table, type PageProps } from './office'
import { Frame } from './parts'
import { roleIn, roleWords, say } from './words'

interface Person {
  id: string
  login: string
  display_name: string
  role: string
  wards: string[]
  patients: string[]
  self: string
  disabled: boolean
  must_change_password: boolean
}

interface Ward {
  id: string
  name: string
}

interface Patient {
  id: string
  name: string | null
  ward: string
  bed: string
}

type Form = { person?: Person; kind: 'add' | 'role' | 'more' }

export function PeoplePage(p: PageProps) {
  const [people, setPeople] = useState<Person[]>()
  const [wards, setWards] = useState<Ward[]>([])
  const [patients, setPatients] = useState<Patient[]>([])
  const [failed, setFailed] = useState('')
  const [done, setDone] = useState('')
  const [form, setForm] = useState<Form>()
  const [once, setOnce] = useState<{ login: string; password: string }>()
  const [search, setSearch] = useState('')
  const [asked, setAsked] = useState<AskedFor>()

  const fail = (e: unknown) => {
    if (e instanceof Refused && e.signedOut) p.onGone()
    else setFailed(words(e))
  }
  const load = () => {
    ask<Person[]>('GET', '/api/admin/persons').then(setPeople, fail)
    ask<Ward[]>('GET', '/api/admin/wards').then(setWards, fail)
    ask<Patient[]>('GET', '/api/admin/patients').then(setPatients, fail)
  }
  useEffect(load, [])
  const change = async (x: Person, what: string, said: string) => {
    setFailed('')
    setDone('')
    try {
      const a = await ask<({ password?: string } & AskedFor) | undefined>('POST', `/api/admin/persons/${encodeURIComponent(x.id)}/${what}`, {})
      if (a?.password) setOnce({ login: x.login, password: a.password })
      if (a?.waiting) setAsked(a)
      setDone(a?.waiting ? '' : said)
      setForm(undefined)
      load()
    } catch (e) {
      setForm(undefined)
      fail(e)
    }
  }
  const wardName = (id: string) => wards.find((w) => w.id === id)?.name ?? id
  const patientName = (id: string) => {
    const x = patients.find((x) => x.id === id)
    return x ? `${x.name ?? x.id}${x.bed ? ` (${x.bed})` : ''}` : id
  }
  const relations = (x: Person) =>
    x.role === 'nurse' ? x.wards.map(wardName).join(', ') : x.role === 'doctor' ? x.patients.map(patientName).join(', ') : x.self ? patientName(x.self) : ''
  const shown = people?.filter((x) => `${x.login} ${x.display_name} ${x.role}`.toLowerCase().includes(search.trim().toLowerCase()))
  return (
    <Frame {...p}>
      <div class="title-row">
        <h1>{tr('People')}</h1>
        <button type="button" class="main main-small" data-testid="add-person" onClick={() => setForm({ kind: 'add' })}>
          {tr('Add a person')}
        </button>
      </div>
      <p class="lead">{tr('Who may sign in, as what, and where. A change of role, ward or patients takes effect at once, also on open screens.')}</p>
      <label class="sr" for="people-search">
        {tr('Search people')}
      </label>
      <input id="people-search" type="search" class="search" placeholder={tr('Search by login, name or role')} value={search} onInput={(e) => setSearch(e.currentTarget.value)} />
      <Failed text={failed} testid="people-failed" />
      <p class="done" role="status" data-testid="people-done">
        {done}
      </p>
      {shown && (
        <Table head={[tr('Login'), tr('Name'), tr('Role'), tr('Where'), tr('State'), '']} testid="people">
          {shown.map((x) => (
            <tr key={x.id} data-testid={`person-${x.login}`}>
              <td>{x.login}</td>
              <td>{x.display_name}</td>
              <td>{roleWords[x.role] ?? x.role}</td>
              <td class="wrap">{relations(x)}</td>
              <td>{x.disabled ? <span class="mark-no">{tr('disabled')}</span> : x.must_change_password ? tr('one-time password') : <span class="mark-ok">{tr('active')}</span>}</td>
              <td class="num">
                <button type="button" class="quiet small-button" data-testid={`change-${x.login}`} aria-label={tr('Change {0}', x.login)} onClick={() => setForm({ person: x, kind: 'more' })}>
                  {tr('Change…')}
                </button>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {form?.kind === 'more' && form.person && (
        <Dialog title={`${form.person.display_name || form.person.login}`} onClose={() => setForm(undefined)} testid="person">
          <p class="lead">
            {tr('Login')}{' '}<code>{form.person.login}</code>, {roleIn(form.person.role)}
          </p>
          <div class="choices">
            {form.person.role !== 'patient' && (
              <button type="button" class="quiet" data-testid="person-role" onClick={() => setForm({ person: form.person!, kind: 'role' })}>
                {tr('Role, wards and patients…')}
              </button>
            )}
            <button type="button" class="quiet" data-testid="person-signout" onClick={() => void change(form.person!, 'sign-out', tr('All their sessions have ended.'))}>
              {tr('End all their sessions')}
            </button>
            <button type="button" class="quiet" data-testid="person-password" onClick={() => void change(form.person!, 'password', '')}>
              {tr('Make a one-time password')}
            </button>
            <button type="button" class="quiet" data-testid="person-factors" onClick={() => void change(form.person!, 'reset-factors', tr('Their second factors are gone.'))}>
              {tr('Take away the second factors')}
            </button>
            {form.person.disabled ? (
              <button type="button" class="quiet" data-testid="person-enable" onClick={() => void change(form.person!, 'enable', tr('They may sign in again.'))}>
                {tr('Let them sign in again')}
              </button>
            ) : (
              <button type="button" class="quiet danger-text" data-testid="person-disable" onClick={() => void change(form.person!, 'disable', tr('They are kept out, and their sessions have ended.'))}>
                {tr('Keep them out')}
              </button>
            )}
          </div>
          <div class="actions">
            <button type="button" class="quiet" onClick={() => setForm(undefined)}>
              {tr('Close')}
            </button>
          </div>
        </Dialog>
      )}
      {(form?.kind === 'add' || form?.kind === 'role') && (
        <PersonForm
          wards={wards}
          patients={patients}
          patientName={patientName}
          {...(form.person ? { person: form.person } : {})}
          onClose={() => setForm(undefined)}
          onDone={(made) => {
            setForm(undefined)
            if (made && 'waiting' in made) setAsked(made)
            else if (made) setOnce(made as { login: string; password: string })
            setDone(made ? '' : tr('Changed.'))
            load()
          }}
        />
      )}
      {asked && <AskedDialog asked={asked} onClose={() => setAsked(undefined)} />}
      {once && (
        <Dialog title={tr('A one-time password')} onClose={() => setOnce(undefined)} testid="once">
          <p>
            {tr('Give it to')}{' '}<strong>{once.login}</strong>{' '}{tr('in person. It is good for one sign-in, at which they choose their own. It is shown now and never again.')}
          </p>
          <p class="codes">
            <code data-testid="once-password">{once.password}</code>
          </p>
          <div class="actions">
            <button type="button" class="main" data-testid="once-kept" onClick={() => setOnce(undefined)}>
              {tr('Done')}
            </button>
          </div>
        </Dialog>
      )}
    </Frame>
  )
}

function PersonForm({ person, wards, patients, patientName, onClose, onDone }: {
  person?: Person
  wards: Ward[]
  patients: Patient[]
  patientName: (id: string) => string
  onClose: () => void
  onDone: (made?: { login: string; password: string } | AskedFor) => void
}) {
  const [role, setRole] = useState(person?.role ?? 'nurse')
  const [chosen, setChosen] = useState<string[]>(person ? [...person.wards, ...person.patients] : [])
  const [self, setSelf] = useState('')
  const [failed, setFailed] = useState('')
  const login = useRef<HTMLInputElement>(null)
  const name = useRef<HTMLInputElement>(null)
  const toggle = (id: string) => setChosen((c) => (c.includes(id) ? c.filter((x) => x !== id) : [...c, id]))
  const submit = async (e: Event) => {
    e.preventDefault()
    setFailed('')
    const relations = {
      wards: role === 'nurse' ? chosen.filter((id) => wards.some((w) => w.id === id)) : [],
      patients: role === 'doctor' ? chosen.filter((id) => patients.some((x) => x.id === id)) : [],
    }
    try {
      if (person) {
        onDone(await ask<AskedFor | undefined>('PUT', `/api/admin/persons/${encodeURIComponent(person.id)}/role`, { role, ...relations }))
      } else
        onDone(
          await ask<{ login: string; password: string } | AskedFor>('POST', '/api/admin/persons', {
            login: login.current?.value ?? '',
            display_name: name.current?.value ?? '',
            role,
            self: role === 'patient' ? self : '',
            ...relations,
          }),
        )
    } catch (err) {
      setFailed(words(err))
    }
  }
  const roles = ['nurse', 'doctor', 'staff', 'auditor', 'admin', ...(person ? [] : ['patient'])]
  return (
    <Dialog title={person ? tr('Role of {0}', person.display_name || person.login) : tr('Add a person')} onClose={onClose} testid="person-form">
      <form class="form" onSubmit={submit}>
        {!person && (
          <>
            <label>
              {tr('Login')}
              <input ref={login} data-testid="new-login" autoCapitalize="none" spellcheck={false} required maxLength={64} pattern="[A-Za-z0-9][A-Za-z0-9._@\-]*" />
            </label>
            <label>
              {tr('Name')}
              <input ref={name} data-testid="new-name" required maxLength={128} />
            </label>
          </>
        )}
        <label>
          {tr('Role')}
          <select value={role} onChange={(e) => setRole(e.currentTarget.value)} data-testid="new-role">
            {roles.map((r) => (
              <option key={r} value={r}>
                {roleWords[r]}
              </option>
            ))}
          </select>
        </label>
        {role === 'nurse' && (
          <Pick legend={say('onWhichWards')} all={wards.map((w) => ({ id: w.id, name: w.name }))} chosen={chosen} toggle={toggle} />
        )}
        {role === 'doctor' && (
          <Pick legend={say('treatsWhom')} all={patients.map((x) => ({ id: x.id, name: patientName(x.id) }))} chosen={chosen} toggle={toggle} />
        )}
        {role === 'patient' && (
          <label>
            {tr('Which patient is it?')}
            <select value={self} onChange={(e) => setSelf(e.currentTarget.value)} required>
              <option value="">{tr('Choose…')}</option>
              {patients.map((x) => (
                <option key={x.id} value={x.id}>
                  {patientName(x.id)}
                </option>
              ))}
            </select>
          </label>
        )}
        <Failed text={failed} testid="person-failed" />
        <div class="actions">
          <button type="button" class="quiet" onClick={onClose}>
            {tr('Cancel')}
          </button>
          <button type="submit" class="main" data-testid="person-save">
            {person ? tr('Change') : tr('Add')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

export function Pick({ legend, all, chosen, toggle }: { legend: string; all: { id: string; name: string }[]; chosen: string[]; toggle: (id: string) => void }) {
  return (
    <fieldset class="pick">
      <legend>{legend}</legend>
      <div class="pick-list">
        {all.map((x) => (
          <label key={x.id} class={chosen.includes(x.id) ? 'pick-one picked' : 'pick-one'} data-testid={`pick-${x.id}`}>
            <input type="checkbox" checked={chosen.includes(x.id)} onChange={() => toggle(x.id)} />
            <span>{x.name}</span>
          </label>
        ))}
      </div>
    </fieldset>
  )
}
