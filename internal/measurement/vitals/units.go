package vitals

// BPM is a rate in beats (or breaths) per minute.
type BPM float64

// Percent is a share of 100, as used for SpO2 and perfusion index.
type Percent float64

// MMHg is a pressure in millimetres of mercury, relative to ambient.
type MMHg float64

// KPa is a pressure in kilopascals, relative to ambient.
type KPa float64

// Celsius is a temperature in degrees Celsius.
type Celsius float64

// Hertz is a rate in events per second.
type Hertz float64

// kPaPerMMHg is exact by definition of the conventional millimetre of mercury (133.322387415 Pa, BS
// 350).
const kPaPerMMHg = 0.133322387415

// KPa converts to kilopascals.
func (p MMHg) KPa() KPa { return KPa(p * kPaPerMMHg) }

// MMHg converts to millimetres of mercury.
func (p KPa) MMHg() MMHg { return MMHg(p / kPaPerMMHg) }
