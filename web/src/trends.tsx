// Trends of the last hour, or up to a month. A step without values is a hole in the line, never
// bridged; a hole that its gateway has explained is shaded, and said in words below. The line is of
// one sensor at a time and breaks where another one takes over; what others gave meanwhile stands
// in grey, and in words.
import { tr } from './lang'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { Asks } from './confirm'
import { lastOf } from './move'
import { whyFailed } from './absent'
import type { Gap, Kind, Moved, TrendAttempt, TrendPoint, Trends } from './api'
import { Sensors, lines, shared, spanned, type Lines } from './trendsensors'
import { clock, day, gapReason, say, someUncertain, uncertainties } from './words'

const HEIGHT = 140
const MOST_GAPS = 5
const axisFont = '12px system-ui, sans-serif'

const DAY = 86_400

// shade marks spans behind the lines, at least two pixels wide: a short one must be seen as well.
function shade(u: uPlot, gaps: [number, number][], colour: string) {
  const { left, top, width, height } = u.bbox
  u.ctx.save()
  u.ctx.fillStyle = colour
  for (const [from, to] of gaps) {
    const a = Math.max(u.valToPos(from, 'x', true), left)
    const b = Math.min(u.valToPos(to, 'x', true), left + width)
    if (b >= a) u.ctx.fillRect(a, top, Math.max(b - a, 2 * devicePixelRatio), height)
  }
  u.ctx.restore()
}

// crosses marks attempts without a value, at the foot of a chart.
function crosses(u: uPlot, at: number[]) {
  const { left, top, width, height } = u.bbox
  const r = 5 * devicePixelRatio
  const y = top + height - 1.6 * r
  u.ctx.save()
  u.ctx.strokeStyle = '#ffb020'
  u.ctx.lineWidth = 2 * devicePixelRatio
  for (const t of at) {
    const x = u.valToPos(t, 'x', true)
    if (x < left || x > left + width) continue
    u.ctx.beginPath()
    u.ctx.moveTo(x - r, y - r)
    u.ctx.lineTo(x + r, y + r)
    u.ctx.moveTo(x - r, y + r)
    u.ctx.lineTo(x + r, y - r)
    u.ctx.stroke()
  }
  u.ctx.restore()
}

function options(width: number, low: number, high: number, series: uPlot.Series[], bands: uPlot.Band[], seconds: number, gaps: () => [number, number][], sensors: () => [number, number][], tried: () => number[]): uPlot.Options {
  const axis = { stroke: '#9fb0c3', font: axisFont, grid: { stroke: '#1d2935', width: 1 }, ticks: { stroke: '#1d2935', width: 1 } }
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    select: { show: false, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true },
      y: { range: (_u, min, max) => [Math.min(low, min ?? low), Math.max(high, max ?? high)] },
    },
    axes: [
      { ...axis, space: 70, size: 30, values: seconds < 2 * DAY ? '{HH}:{mm}' : '{MM}-{DD}' },
      { ...axis, size: 44, space: 30 },
    ],
    series: [{}, ...series],
    bands,
    hooks: { drawClear: [(u) => shade(u, sensors(), 'rgba(159, 176, 195, 0.16)'), (u) => shade(u, gaps(), 'rgba(255, 176, 32, 0.28)')], draw: [(u) => crosses(u, tried())] },
  }
}

function Chart({ title, unit, colour, low, high, data, series, bands, seconds, gaps, sensors, latest, legend = [], tried = [] }: {
  title: string
  unit: string
  colour: string
  low: number
  high: number
  data: uPlot.AlignedData
  series: uPlot.Series[]
  bands: uPlot.Band[]
  seconds: number
  gaps: [number, number][]
  sensors: [number, number][] // spans of several sensors
  latest: string
  legend?: [string, string][]
  tried?: number[] // when attempts gave no value
}) {
  const ref = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const now = useRef(gaps)
  now.current = gaps
  const several = useRef(sensors)
  several.current = sensors
  const failed = useRef(tried)
  failed.current = tried
  useEffect(() => {
    const box = ref.current
    if (!box) return
    const u = new uPlot(options(Math.max(box.clientWidth, 200), low, high, series, bands, seconds, () => now.current, () => several.current, () => failed.current), data, box)
    plot.current = u
    const watch = new ResizeObserver(() => u.setSize({ width: Math.max(box.clientWidth, 200), height: HEIGHT }))
    watch.observe(box)
    return () => {
      watch.disconnect()
      u.destroy()
      plot.current = null
    }
  }, [])
  useEffect(() => plot.current?.setData(data), [data])
  return (
    <figure class={`panel trend ${colour}`}>
      <figcaption>
        <span class="trend-title">{title}</span> <span class="unit">{unit}</span>
        <span class="trend-range">
          {legend.length === 0
            ? latest
            : legend.map(([name, range]) => (
                <span key={name} class={`key key-${name}`}>
                  {name} {range}
                </span>
              ))}
        </span>
      </figcaption>
      <div ref={ref} role="img" aria-label={`${title}, ${unit}: ${latest}`} />
    </figure>
  )
}

export function TrendCharts({ trends }: { trends: Trends }) {
  const of = (k: Kind) => trends.series.find((s) => s.kind === k)?.points ?? []
  const step = trends.step_seconds
  const first = Math.floor(Date.parse(trends.from) / 1000 / step) * step
  const last = Math.ceil(Date.parse(trends.to) / 1000 / step) * step
  const seconds = last - first
  const gaps = trends.gaps.map((g): [number, number] => [Date.parse(g.from) / 1000, Date.parse(g.to) / 1000])

  const said = (points: TrendPoint[]): string => {
    const some = points.filter((p) => p.count > 0)
    if (some.length === 0) return tr('no values')
    const low = Math.round(Math.min(...some.map((p) => p.min)))
    const high = Math.round(Math.max(...some.map((p) => p.max)))
    const mark = some.every((p) => p.asserted) ? uncertainties.asserted : some.some((p) => p.uncertain) ? someUncertain() : ''
    const most = Math.max(...some.map((p) => p.sensors))
    return [spanned(low, high), mark, most > 1 ? shared(most) : ''].filter((x) => x).join(', ')
  }
  const line = (stroke: string): uPlot.Series => ({ stroke, width: 2, spanGaps: false, points: { show: true, size: 4, fill: stroke } })
  const edge: uPlot.Series = { stroke: 'transparent', width: 0, spanGaps: false, points: { show: false } }

  // What others gave: their range, in grey.
  const grey: uPlot.Series = { stroke: '#9fb0c3', width: 1, dash: [3, 3], spanGaps: false, points: { show: true, size: 3, fill: '#9fb0c3' } }
  const ranged = (k: Kind): Lines => lines(first, last, step, [of(k)], (p) => [p.max, p.min, p.mean])
  const hr = ranged('heart_rate_bpm')
  const spo2 = ranged('spo2_percent')
  const dots = (stroke: string, size = 7): uPlot.Series => ({ stroke, width: 0, spanGaps: false, paths: () => null, points: { show: true, size, fill: stroke } })
  const sys = of('systolic_mmhg')
  const dia = of('diastolic_mmhg')
  const pressure = lines(first, last, step, [sys, dia], (p) => [p.mean])
  return (
    <>
      <div class="trend-grid">
      <Chart title={tr('Heart rate')} unit="bpm" colour="hr" low={50} high={110} latest={said(of('heart_rate_bpm'))} data={hr.data}
        series={[grey, grey, edge, edge, line('#3ddc84')]} bands={[{ series: [1, 2], fill: 'rgba(159,176,195,0.25)' }, { series: [3, 4], fill: 'rgba(61,220,132,0.18)' }]} seconds={seconds} gaps={gaps} sensors={hr.several} />
      <Chart title={tr('SpO₂')} unit="%" colour="spo2" low={88} high={100} latest={said(of('spo2_percent'))} data={spo2.data}
        series={[grey, grey, edge, edge, line('#35d6f0')]} bands={[{ series: [1, 2], fill: 'rgba(159,176,195,0.25)' }, { series: [3, 4], fill: 'rgba(53,214,240,0.18)' }]} seconds={seconds} gaps={gaps} sensors={spo2.several} />
      <Chart title={tr('Blood pressure')} unit="mmHg" colour="pressure" low={50} high={160}
        latest={sys.length === 0 ? tr('no values') : `${said(sys)} / ${said(dia)}`}
        legend={sys.length === 0 ? [] : [['sys', said(sys)], ['dia', said(dia)]]}
        data={pressure.data}
        series={[dots('#9fb0c3', 4), dots('#9fb0c3', 4), dots('#ff7b7b'), dots('#9fb0c3', 4), dots('#9fb0c3', 4), dots('#ffffff')]} bands={[]} seconds={seconds} gaps={gaps} sensors={pressure.several} tried={trends.attempts.map((a) => Date.parse(a.at) / 1000)} />
    </div>
    <Sensors trends={trends} seconds={seconds} />
    <Moves moves={trends.moves} />
    <Asks list={trends.not_confirmed} />
    <Attempts all={trends.attempts} seconds={seconds} />
    <Gaps gaps={trends.gaps} seconds={seconds} />
    </>
  )
}

// when is a time to the second, with its day unless that is today.
const when = (iso: string) => (day(iso) === day(new Date().toISOString()) ? clock(iso, true) : `${day(iso)} ${clock(iso, true)}`)

// Moves says which values of the chart were another patient's before, or are another patient's now.
function Moves({ moves }: { moves: Moved[] }) {
  if (moves.length === 0) return null
  return (
    <ul class="gaps moves" data-testid="moves">
      {moves.map((m) => (
        <li key={`${m.from} ${m.at} ${m.away}`}>
          {say(m.away ? 'movedAway' : 'movedHere', when(m.from), when(lastOf(m.to)), m.by, `${day(m.at)} ${clock(m.at)}`)} {!m.done && say('moving')}
        </li>
      ))}
    </ul>
  )
}

// Attempts says the crosses of the chart of blood pressure in words: the newest few.
function Attempts({ all, seconds }: { all: TrendAttempt[]; seconds: number }) {
  if (all.length === 0) return null
  const time = (t: string) => (seconds <= DAY ? clock(t) : `${day(t)} ${clock(t)}`)
  const shown = all.slice(-MOST_GAPS)
  return (
    <ul class="gaps" data-testid="attempts">
      {shown.map((a) => (
        <li key={`${a.at} ${a.why} ${a.source}`}>
          {say('attemptsOf', time(a.at), a.count === 1 ? say('attemptOne', whyFailed(a.why)) : say('attemptMany', a.count, whyFailed(a.why)), a.source)}
        </li>
      ))}
      {all.length > shown.length && <li>{tr('and')}{' '}{all.length - shown.length}{' '}{tr('before that')}</li>}
    </ul>
  )
}

// Gaps says the shaded stretches in words: at most the newest few, by reason, as one list of times.
function Gaps({ gaps, seconds }: { gaps: Gap[]; seconds: number }) {
  if (gaps.length === 0) return null
  const time = (t: string) => (seconds <= DAY ? clock(t, true) : `${day(t)} ${clock(t, true)}`)
  const shown = gaps.slice(-MOST_GAPS)
  return (
    <ul class="gaps" data-testid="gaps">
      {shown.map((g) => (
        <li key={`${g.from} ${g.signal} ${g.reason}`}>
          {time(g.from)}{' '}{tr('to')}{' '}{time(g.to)}: {gapReason(g.signal, g.reason)}
        </li>
      ))}
      {gaps.length > shown.length && <li>{tr('and')}{' '}{gaps.length - shown.length}{' '}{tr('before that')}</li>}
    </ul>
  )
}
