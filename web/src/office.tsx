// The pages of those who see no clinical values: staff, and what other such pages share.
import { tr } from './lang'
import { cloneElement, toChildArray, type ComponentChildren, type VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Refused, ask, type Beds, type Session } from './api'
import { Frame, Message } from './parts'
import { say } from './words'

export interface PageProps {
  session: Session
  go: (to: string) => void
  onSignOut: () => void
  onGone: () => void
}

// useAsked fetches path now and every ten seconds.
function useAsked<T>(path: string, onGone: () => void): { got?: T; failed?: Refused } {
  const [state, set] = useState<{ got?: T; failed?: Refused }>({})
  const gone = useRef(onGone)
  gone.current = onGone
  useEffect(() => {
    let over = false
    const load = () =>
      ask<T>('GET', path, undefined, true).then(
        (got) => over || set({ got }),
        (e: unknown) => {
          if (over) return
          if (e instanceof Refused && e.status === 401) gone.current()
          else set((s) => ({ ...s, failed: e instanceof Refused ? e : new Refused(0, say('hubGone')) }))
        },
      )
    void load()
    const t = window.setInterval(load, 10_000)
    return () => {
      over = true
      window.clearInterval(t)
    }
  }, [path])
  return state
}

export function Asked({ failed, waiting }: { failed: Refused | undefined; waiting: boolean }) {
  if (failed)
    return (
      <Message title={failed.status === 403 ? tr('Not permitted') : tr('This list cannot be shown')} testid={failed.status === 403 ? 'refused' : 'failed'}>
        <p>{failed.status === 403 ? tr('Your role may not see this. The attempt has been written to the audit log.') : failed.message}</p>
      </Message>
    )
  return waiting ? <p class="quietly">{tr('Fetching…')}</p> : null
}

// Table is a table whose rows (<tr> of <td>) are cards on a narrow screen, each value behind the name of its column. The roles are said
// because a browser forgets them where rows are no table rows. A table that is too wide scrolls by itself.
export function Table({ head, children, testid, label }: { head: string[]; children: ComponentChildren; testid: string; label?: string }) {
  const element = (c: ComponentChildren): c is VNode<{ children?: ComponentChildren }> => typeof c === 'object' && c !== null && 'props' in c
  const rows = toChildArray(children).map((tr) =>
    element(tr)
      ? cloneElement(
          tr,
          { role: 'row' },
          toChildArray(tr.props.children).map((td, i) => (element(td) ? cloneElement(td, { role: 'cell', 'data-head': head[i] ?? '' }) : td)),
        )
      : tr,
  )
  return (
    <div class="panel table-box" tabIndex={0} role="region" aria-label={label ?? tr('Table')}>
      <table data-testid={testid} role="table">
        <thead role="rowgroup">
          <tr role="row">
            {head.map((h) => (
              <th key={h} role="columnheader" scope="col" class={h === tr('No.') ? 'num' : ''}>
                {h || <span class="sr">{say('change')}</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">{rows}</tbody>
      </table>
    </div>
  )
}

export function StaffPage(p: PageProps) {
  const { got, failed } = useAsked<Beds>('/api/beds', p.onGone)
  return (
    <Frame {...p}>
      <h1>{tr('Beds')}</h1>
      <p class="lead">{tr('Which beds are taken. Your role sees no names and no clinical values.')}</p>
      <Asked failed={failed} waiting={!got} />
      {got && (
        <Table head={[tr('Ward'), tr('Bed'), tr('State')]} testid="beds">
          {got.beds.map((b) => (
            <tr key={b.bed} data-testid={`bed-${b.bed}`}>
              <td>{b.ward_name}</td>
              <td>{b.bed_name}</td>
              <td>{say(b.occupied ? 'bedTaken' : 'bedFree')}</td>
            </tr>
          ))}
        </Table>
      )}
    </Frame>
  )
}
