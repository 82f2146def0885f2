// The hub's time, as far as this page can prove it. Messages may come late, on purpose or not: none
// of them may make the page believe that the hub's time is an earlier one, for then old numbers
// would look fresh.
//
// Time here runs by the browser's steady clock, which no step of the workstation's clock moves. Of
// the difference between the hub's time and it, each message proves a lower bound (the hub sent it
// before it came), and each answer to a request an upper one too (the hub wrote it after the
// request was sent). The page's time of the hub is the lower bound: that of the message with the
// least delay.

// How far the two bounds may lie apart for the estimate to count. So much may a reading be older
// than it looks.
const SURE_MS = 2000
// A step of the workstation's clock against the steady one: the steady clock stood still while the
// computer slept, or the clock was set.
const STEP_MS = 1000
// How often a request must have told the bounds anew: two good clocks drift by some milliseconds in
// this time.
const AGAIN_MS = 30_000

export class HubClock {
  private lower: number | undefined // the hub's time minus the steady clock's is at least this, in ms
  private upper = Infinity // and at most this
  private stale = true // the bounds are from before a step: only a request's answer makes new ones
  private against: number // the workstation's clock minus the steady one, when last looked at
  private times = 0 // of steps, so that a request across one does not count
  private told = -Infinity // when a request last told the bounds, by the steady clock

  constructor(
    private readonly steady: () => number,
    private readonly wall: () => number,
  ) {
    this.against = wall() - steady()
  }

  // begin is called when a request is sent; what it returns is called with the hub's time that the
  // answer holds.
  begin(): (serverTime: unknown) => void {
    this.look()
    const sent = this.steady()
    const times = this.times
    return (serverTime) => {
      this.look()
      const t = typeof serverTime === 'string' ? Date.parse(serverTime) : NaN
      if (!Number.isFinite(t) || times !== this.times) return
      const heard = this.steady()
      const least = t - heard
      const most = t - sent
      this.told = heard
      if (this.stale || this.lower === undefined) {
        this.lower = least
        this.upper = most
        this.stale = false
        return
      }
      // What this answer proves holds now; what older ones proved, only as far as it agrees: the
      // clocks drift, and the hub's is set.
      this.lower = Math.min(Math.max(this.lower, least), most)
      this.upper = Math.max(Math.min(this.upper, most), this.lower)
    }
  }

  // heard is called with the hub's time in a message that nothing asked for. It may be late by any
  // time, so it only ever moves the estimate forward.
  heard(serverTime: string): void {
    this.look()
    const t = Date.parse(serverTime)
    if (!Number.isFinite(t) || (this.stale && this.lower !== undefined)) return
    this.lower = Math.max(this.lower ?? -Infinity, t - this.steady())
    if (this.lower > this.upper + SURE_MS) this.upper = Infinity // the hub's clock was set: a request must tell how far
    else this.upper = Math.max(this.upper, this.lower)
  }

  // now is the hub's time in ms, or the workstation's while the hub has said nothing.
  now(): number {
    this.look()
    return this.lower === undefined ? this.wall() : this.steady() + this.lower
  }

  // sure tells whether now is the hub's time to 2 s. While it is not, nothing is live.
  sure(): boolean {
    this.look()
    return !this.stale && this.unsureMs() <= SURE_MS
  }

  // unsureMs is how much later than now the hub's time may be; Infinity: not known.
  unsureMs(): number {
    return this.stale || this.lower === undefined ? Infinity : this.upper - this.lower
  }

  // due tells whether a request should tell the bounds anew.
  due(): boolean {
    return !this.sure() || this.steady() - this.told > AGAIN_MS
  }

  // look begins anew when the workstation's clock and the steady one no longer run alike.
  private look(): void {
    const against = this.wall() - this.steady()
    const step = against - this.against
    if (Math.abs(step) < STEP_MS) return
    this.against = against
    this.times++
    this.stale = true
    this.upper = Infinity
    // Until the hub answers: if the computer slept, so much time has passed. What is shown may look
    // older for it, never younger.
    if (this.lower !== undefined && step > 0) this.lower += step
  }
}

export const hubClock = new HubClock(
  () => performance.now(),
  () => Date.now(),
)
