// The page of the sensors at the beds of a person's wards: which is where, moving one to another patient's bed or off a bed, and moving
// what stands under the wrong patient.
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, type Bed, type Beds } from './api'
import { AskedDialog, type AskedFor } from './approvals'
import { Dialog, Failed, words } from './dialog'
import { MoveReadings, local, moment, ofLocal, wholeSecond, type Lying, type Wrong } from './move'
import { Asked, Table, type PageProps } from './office'
import { Frame } from './parts'
import { NoneLeft, Questions, useMeant } from './place'
import { hubFinds, say, span } from './words'

interface Sensor {
  id: string
  model: string
  purpose: string
  serial: string
  state: string
  bed: string
  bed_name: string
  ward: string
  ward_name: string
  last_seen: string | null
}

interface Place {
  id: string
  name: string
  ward: string
  ward_name: string
}

interface Here {
  server_time: string
  beds: Place[]
  sensors: Sensor[]
}

const AGAIN_MS = 10_000

// What a sensor is for, in words.
const purpose = (s: Sensor): string =>
  ({ oximeter: say('oximeter'), cuff: say('cuff'), 'legacy device': say('legacyDevice') } as Record<string, string>)[s.purpose] ?? s.model

// sensorsAt is the address of this page about one sensor that speaks again since a time.
export const sensorsAt = (sensor: string, since: string): string => `/sensors?${new URLSearchParams({ sensor, since })}`

export function SensorsPage(p: PageProps) {
  const [here, setHere] = useState<Here>()
  const [lies, setLies] = useState<Bed[]>()
  const [failed, setFailed] = useState<Refused>()
  const [open, setOpen] = useState<Sensor>()
  const [since, setSince] = useState('')
  const [done, setDone] = useState('')
  const [wrong, setWrong] = useState<Wrong>({ from: '', to: '', sensor: '', begin: '', end: '' })
  const [round, setRound] = useState(0)
  const gone = useRef(p.onGone)
  gone.current = p.onGone
  const wanted = useRef(new URLSearchParams(window.location.search))
  const load = (background: boolean) => {
    const fail = (e: unknown) => {
      if (e instanceof Refused && e.status === 401) gone.current()
      else setFailed(e instanceof Refused ? e : new Refused(0, words(e)))
    }
    ask<Here>('GET', '/api/admin/sensors', undefined, background).then((h) => {
      setFailed(undefined)
      setHere(h)
    }, fail)
    ask<Beds>('GET', '/api/beds', undefined, background).then((b) => setLies(b.beds), fail)
  }
  useEffect(() => {
    load(false)
    const t = window.setInterval(() => load(true), AGAIN_MS)
    return () => window.clearInterval(t)
  }, [])
  // Who comes from the question at a bed finds that sensor's dialog open, once.
  useEffect(() => {
    const id = wanted.current.get('sensor')
    if (!here || !lies || !id) return
    const at = wanted.current.get('since') ?? ''
    wanted.current = new URLSearchParams()
    const s = here.sensors.find((x) => x.id === id)
    if (!s) return
    setSince(Number.isNaN(Date.parse(at)) ? '' : at)
    setOpen(s)
  }, [here, lies])

  const lying: Lying[] = lies?.flatMap((b) => (b.patient && b.bed ? [{ id: b.patient, name: b.patient_name || b.patient, bed: b.bed_name }] : [])) ?? []
  const at = (bed: string) => lies?.find((b) => b.bed === bed)
  const patientAt = (bed: string) => at(bed)?.patient ?? ''
  const lyingAt = (bed: string): string => {
    const b = at(bed)
    return !b || !bed ? '' : b.patient_name || (b.occupied ? say('bedTaken') : say('bedFree'))
  }
  const finish = (said: string, next?: Partial<Wrong>) => {
    setOpen(undefined)
    setSince('')
    setDone(said)
    if (next) setWrong({ ...wrong, ...next })
    setRound((n) => n + 1)
    load(false)
  }
  const seen = (s: Sensor) => (s.last_seen && here ? say('ago', span((Date.parse(here.server_time) - Date.parse(s.last_seen)) / 1000)) : say('never'))
  return (
    <Frame {...p}>
      <h1>{say('sensors')}</h1>
      <p class="lead">{say('sensorsLead')}</p>
      <p class="done" role="status" data-testid="sensors-done">
        {done}
      </p>
      <Asked failed={here ? undefined : failed} waiting={!here || !lies} />
      {here && failed && <Failed text={failed.message} testid="sensors-failed" />}
      {here && lies && here.sensors.length === 0 && <p class="quietly">{say('noSensors')}</p>}
      {here && lies && here.sensors.length > 0 && (
        <Table head={[say('bed'), say('patient'), say('sensor'), say('what'), say('lastHeard'), '']} testid="sensors" label={say('sensors')}>
          {here.sensors.map((s) => (
            <tr key={s.id} data-testid={`sensor-${s.id}`}>
              <td>{s.bed ? `${s.bed_name}, ${s.ward_name}` : <span class="mark-no">{say('noBed')}</span>}</td>
              <td class="wrap">{lyingAt(s.bed)}</td>
              <td>
                {s.id} <span class="unit">{s.serial}</span>
              </td>
              <td>
                {purpose(s)}
                {s.state !== 'active' && <span class="mark-no"> ({say(s.state === 'disabled' ? 'stateDisabled' : 'stateInvited')})</span>}
              </td>
              <td>{seen(s)}</td>
              <td class="num">
                <button type="button" class="quiet small-button" aria-label={say('moveOf', s.id)} data-testid={`sensor-move-${s.id}`} onClick={() => setOpen(s)}>
                  {say('move')}
                </button>
              </td>
            </tr>
          ))}
        </Table>
      )}
      {here && lying.length > 1 && (
        <section class="panel card readings-card" aria-labelledby="wrong-title">
          <h2 id="wrong-title">{say('wrongTitle')}</h2>
          <p class="quietly">{say('wrongLead')}</p>
          <MoveReadings key={round} lying={lying} sensors={here.sensors.map((s) => s.id)} start={wrong.end ? wrong : { ...wrong, end: wholeSecond(here.server_time) }}
            onDone={(said) => {
              setWrong({ from: '', to: '', sensor: '', begin: '', end: '' })
              finish(said)
            }} />
        </section>
      )}
      {open && here && lies && (
        <MoveDialog sensor={open} others={here.sensors.some((s) => s.id !== open.id && s.bed === open.bed && s.purpose === open.purpose && s.state === 'active')} beds={here.beds} since={since} lying={lying} patientAt={patientAt} lyingAt={lyingAt} onClose={() => {
          setOpen(undefined)
          setSince('')
        }} onDone={finish} />
      )}
    </Frame>
  )
}

// MoveDialog asks where a sensor is, and since when; what it measured since then is shown and moved next.
function MoveDialog({ sensor, others, beds, since, lying, patientAt, lyingAt, onClose, onDone }: {
  sensor: Sensor
  others: boolean // another one of its purpose stays at its bed
  beds: Place[]
  since: string
  lying: Lying[]
  patientAt: (bed: string) => string
  lyingAt: (bed: string) => string
  onClose: () => void
  onDone: (said: string, next?: Partial<Wrong>) => void
}) {
  const [to, setTo] = useState<string>()
  const [begin, setBegin] = useState(since)
  const [placed, setPlaced] = useState<{ at: string; said: string; from: string }>()
  const [asked, setAsked] = useState<AskedFor>()
  const m = useMeant()
  const was = patientAt(sensor.bed)
  const now = to ? patientAt(to) : ''
  const name = (bed: string) => beds.find((b) => b.id === bed)?.name ?? say('noBed')
  const place = () => {
    if (to === undefined) return
    void m.run<{ bed: string; at: string } & AskedFor>(`/api/admin/identities/sensor/${encodeURIComponent(sensor.id)}/bed`, { bed: to }).then((got) => {
      if (!got) return
      if (got.waiting) {
        setAsked(got)
        return
      }
      const said = to ? say('sensorIsAt', sensor.id, name(to)) : say('sensorOff', sensor.id)
      const open = was && begin && Date.parse(begin) < Date.parse(got.at)
      if (open && now && now !== was) setPlaced({ at: got.at, said, from: was })
      else if (open && !now) onDone(`${said} ${say('standsStill', moment(begin), lying.find((l) => l.id === was)?.name ?? '')}`, { from: was, to: '', sensor: sensor.id, begin, end: got.at })
      else onDone(said)
    })
  }
  if (asked)
    return (
      <AskedDialog
        asked={asked}
        onClose={() => onDone(say('askedTitle'))}
      />
    )
  if (placed)
    return (
      <Dialog title={say('whoseReadings')} onClose={() => onDone(placed.said)} testid="whose-readings" wide>
        <p class="done" role="status">
          {placed.said}
        </p>
        <p>{say('whoseLead', sensor.id, moment(begin), moment(placed.at))}</p>
        <MoveReadings lying={lying} sensors={[sensor.id]} look start={{ from: placed.from, to: now, sensor: sensor.id, begin, end: placed.at }}
          onClose={() => onDone(`${placed.said} ${say('standsStill', moment(begin), lying.find((l) => l.id === placed.from)?.name ?? '')}`)}
          onDone={(said) => onDone(`${placed.said} ${said}`)} />
      </Dialog>
    )
  const wards = [...new Map(beds.map((b) => [b.ward, b.ward_name]))]
  const option = (id: string, title: string, note: string) => (
    <label key={id} class={to === id ? 'pick-one picked' : 'pick-one'} data-testid={`to-${id || 'none'}`}>
      <input type="radio" name="to" value={id} checked={to === id} disabled={id === sensor.bed} onChange={() => {
        m.clear()
        setTo(id)
      }} />
      <span>{title}</span>
      <span class="unit">{id === sensor.bed ? say('isHere', note) : note}</span>
    </label>
  )
  return (
    <Dialog title={say('whereIs', sensor.id)} onClose={onClose} testid="move-sensor-dialog">
      <form
        class="form"
        onSubmit={(e) => {
          e.preventDefault()
          place()
        }}
      >
        <p>
          {say('isNowAt', purpose(sensor), sensor.bed ? sensor.bed_name : say('noBed'))}
          {sensor.bed && `: ${lyingAt(sensor.bed)}`}
        </p>
        <fieldset class="pick">
          <legend>{say('atWhichBed')}</legend>
          <div class="pick-list pick-beds" role="radiogroup" aria-label={say('atWhichBed')}>
            {wards.map(([ward, title]) => (
              <div key={ward} role="group" aria-label={title}>
                {wards.length > 1 && <p class="quietly">{title}</p>}
                {beds.filter((b) => b.ward === ward).map((b) => option(b.id, b.name, lyingAt(b.id)))}
              </div>
            ))}
            {option('', say('noBed'), '')}
          </div>
        </fieldset>
        {was && (
          <label>
            {say('sinceWhen')}
            <input type="datetime-local" step={1} value={local(begin)} data-testid="since" onInput={(e) => setBegin(ofLocal(e.currentTarget.value))} />
            <span class="quietly">{say('sinceHint')}</span>
          </label>
        )}
        {now && <p class="asks-hint">{say('wristband')}</p>}
        {to !== undefined && to !== sensor.bed && sensor.state === 'active' && <NoneLeft bed={sensor.bed && sensor.bed_name} purpose={sensor.purpose} others={others} testid="none-left" />}
        <Questions found={m.questions} />
        <Failed text={m.failed && hubFinds(m.failed)} testid="move-failed" />
        <div class="actions">
          <button type="button" class="quiet" onClick={onClose}>
            {say('cancel')}
          </button>
          <button type="submit" class="main" data-testid="place-sensor" disabled={m.busy || to === undefined}>
            {m.questions.length > 0 ? say('doIt') : to === undefined ? say('move') : to ? say('putAt', name(to)) : say('takeOff')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
