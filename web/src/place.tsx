// Where sensors are: moving one to another bed, adding some to a gateway, replacing one. What looks like a mistake is asked about.
import { useEffect, useState } from 'preact/hooks'
import { Refused, ask } from './api'
import { Dialog, Failed, words } from './dialog'
import { hubFinds, say } from './words'

// useMeant runs a request; what the hub questions is kept, to be shown and done by a second press.
export function useMeant(): { questions: string[]; failed: string; busy: boolean; clear: () => void; run: <T>(path: string, body: Record<string, unknown>) => Promise<T | undefined> } {
  const [questions, setQuestions] = useState<string[]>([])
  const [failed, setFailed] = useState('')
  const [busy, setBusy] = useState(false)
  return {
    questions,
    failed,
    busy,
    clear: () => setQuestions([]),
    run: async <T,>(path: string, body: Record<string, unknown>) => {
      setBusy(true)
      setFailed('')
      try {
        return await ask<T>('POST', path, questions.length > 0 ? { ...body, meant: true } : body)
      } catch (e) {
        const found = e instanceof Refused ? e.questions : []
        setQuestions(found)
        if (found.length === 0) setFailed(words(e))
        return undefined
      } finally {
        setBusy(false)
      }
    },
  }
}

// Questions shows what was found.
export function Questions({ found }: { found: string[] }) {
  if (found.length === 0) return null
  return (
    <div class="notice" role="alert" data-testid="questions">
      <div>
        <strong>{say('meant')}</strong>
        <ul>
          {found.map((q) => (
            <li key={q}>{hubFinds(q)}</li>
          ))}
        </ul>
      </div>
    </div>
  )
}

// sensorsOf reads lines of name, model, serial number and bed.
export function sensorsOf(text: string): { id: string; model: string; serial: string; bed: string }[] {
  return text
    .split('\n')
    .map((l) => l.trim())
    .filter((l) => l)
    .map((l) => {
      const [id = '', model = '', serial = '', bed = ''] = l.split(/\s+/)
      return { id, model, serial, bed }
    })
}

// NoneLeft says, before a sensor is moved, that its bed will have none of its purpose left.
export function NoneLeft({ bed, purpose, others, testid }: {
  bed: string // its name
  purpose: string // oximeter, cuff or legacy device
  others: boolean // another active one of that purpose stays there
  testid: string
}) {
  if (!bed || !purpose || others) return null
  return (
    <p class="asks-hint" role="status" data-testid={testid}>
      {say('noneLeft', bed, say(purpose === 'cuff' ? 'noneCuff' : purpose === 'oximeter' ? 'noneOximeter' : 'noneLegacy'))}
    </p>
  )
}

// purposeOf is what a sensor of a model is for; a converter is for others.
export const purposeOf = (model: string): string => {
  const m = model.toLowerCase()
  return m === 'mps20n0040d' ? 'cuff' : m === 'legacy' ? 'legacy device' : m === 'mcp3008' ? '' : 'oximeter'
}

// MoveSensor is the choice of a bed in a sensor's dialog.
export function MoveSensor({ name, bed, model, others, onDone }: { name: string; bed: string; model: string; others: boolean; onDone: (said: string) => void }) {
  const [beds, setBeds] = useState<{ id: string; name: string }[]>([])
  const [to, setTo] = useState(bed)
  const m = useMeant()
  useEffect(() => {
    ask<{ id: string; name: string }[]>('GET', '/api/admin/beds').then(setBeds, () => {})
  }, [])
  return (
    <form
      class="form"
      onSubmit={(e) => {
        e.preventDefault()
        void m.run<{ bed: string }>(`/api/admin/identities/sensor/${encodeURIComponent(name)}/bed`, { bed: to }).then((got) => {
          if (got) onDone(say('sensorMoved', to || say('noBed')))
        })
      }}
    >
      <label>
        {say('bed')}
        <select
          value={to}
          data-testid="move-bed"
          onChange={(e) => {
            m.clear()
            setTo(e.currentTarget.value)
          }}
        >
          <option value="">{say('noBed')}</option>
          {beds.map((b) => (
            <option key={b.id} value={b.id}>
              {b.name} ({b.id})
            </option>
          ))}
        </select>
      </label>
      {to !== bed && <NoneLeft bed={beds.find((b) => b.id === bed)?.name ?? bed} purpose={purposeOf(model)} others={others} testid="move-none-left" />}
      <Questions found={m.questions} />
      <Failed text={m.failed} testid="move-failed" />
      <button type="submit" class="quiet" data-testid="move-sensor" disabled={m.busy || (to === bed && m.questions.length === 0)}>
        {m.questions.length > 0 ? say('doIt') : say('moveSensor')}
      </button>
    </form>
  )
}

// AddSensors makes the ticket of sensors for a gateway that is there; of one that takes another's place where replaces names it.
export function AddSensors({ gateway, replaces, onClose, onDone }: {
  gateway: string
  replaces?: string
  onClose: () => void
  onDone: (t: { name: string; text: string }) => void
}) {
  const [text, setText] = useState('')
  const m = useMeant()
  return (
    <Dialog title={replaces ? say('replaceTitle', replaces) : say('addTitle', gateway)} onClose={onClose} testid="add-sensors">
      <form
        class="form"
        onSubmit={(e) => {
          e.preventDefault()
          const sensors = sensorsOf(text).map((s) => (replaces ? { ...s, replaces } : s))
          void m.run<unknown>(`/api/admin/gateways/${encodeURIComponent(gateway)}/sensors`, { sensors }).then((t) => {
            if (t) onDone({ name: `${gateway}-sensors`, text: JSON.stringify(t) })
          })
        }}
      >
        {replaces && <p class="lead">{say('replaceHint', replaces)}</p>}
        <label>
          {say(replaces ? 'sensorLine' : 'sensorLines')}
          <textarea rows={replaces ? 1 : 4} spellcheck={false} required value={text} data-testid="add-lines"
            placeholder={replaces ? 'oxi-a-9 MAX30100 A18' : 'oxi-a-1 MAX30100 A17 a-1'}
            onInput={(e) => {
              m.clear()
              setText(e.currentTarget.value)
            }} />
        </label>
        <Questions found={m.questions} />
        <Failed text={m.failed} testid="add-failed" />
        <div class="actions">
          <button type="button" class="quiet" onClick={onClose}>
            {say('cancel')}
          </button>
          <button type="submit" class="main" data-testid="add-make" disabled={m.busy}>
            {m.questions.length > 0 ? say('doIt') : say('makeTicket')}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
