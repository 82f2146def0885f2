// Package signal turns raw sensor samples into vital signs: heart rate, SpO2 and perfusion index
// from red and infrared light (PulseOximeter), systolic, diastolic and mean pressure from the
// deflation of a cuff (Cuff).
//
// # Method
//
// Light is averaged in blocks to 32 Hz or a little more and kept for 8 s. Heart rate: the window is
// band-passed (0.5 to 5 Hz, forwards and backwards, so without delay); beats are found by
// multi-scale peak and trough detection (Bishop and Ercole 2018; scales restricted as in MSPTDfast,
// Charlton 2024); the mean of the intervals near their median is the rate. It is believed only if
// the autocorrelation repeats at the same period and at no shorter one, if the beats resemble their
// average, are of even height and rise faster than they fall, and if successive looks agree; after
// a time of doubt three must. At the start one look at three clean beats gives a questionable
// value. SpO2: the height of red beside that of infrared over the same band, each as a share of its
// mean (the ratio of ratios R, the slope of the reduced major axis), with white noise taken out,
// through a named curve (Options.Calibration). It has a standard error of its own and is withheld
// when that exceeds 2 %. Blood pressure: per-beat oscillation heights, those unlike their
// neighbours rejected, an envelope by local lines over pressure; diastolic lies where it crosses a
// fixed share of its top (Ratios), systolic a fixed pressure above its upper flank, mean pressure
// at the top. Respiratory rate: spectra of the light's baseline, of its pulse's height and of the
// pace of its beats over 32 s, added; withheld when their power does not gather around one rate, or
// when fewer than two of the three have that rate as their own.
//
// PulseRate is for light that moves with its wearer: it takes acceleration into account, follows
// the rate by a Viterbi search over spectra, and tells beats. See there.
//
// # What it hides and guarantees
//
// It hides filters, thresholds and how a cuff's inflation is recognised. It guarantees that absence
// is a vitals.Quality with its reason and never a number: no finger, motion, low perfusion,
// saturation, settling, one wavelength, no samples any more. No value is NaN or outside its Kind's
// range. Memory is bounded: about 30 KiB for an oximeter at 100 Hz, up to 100 KiB for a cuff while
// it deflates and some times that while it is evaluated. An oximeter's Push does not allocate,
// Numerics once. Everything depends only on what is pushed. A PulseOximeter or Cuff is for one
// goroutine.
//
// # Accuracy, as measured
//
// `go test -v ./internal/patient/signal`, 2026-11-23. On 40 simulated patients through the
// simulated MAX30100 and its driver (heart rate 40 to 200 bpm, SpO2 72 to 99 %, white noise 10 dB
// below the pulse over 50 Hz in infrared, perfusion 0.2 to 4 %, no motion; seeds first used for
// this measurement, after all tuning): the worst patient's mean absolute error was 0.3 bpm and 1.7
// %, at least 96 % of the seconds answered, the first value after at most 6 s. With movement of 1
// to 12 times the pulse's height in 20 s of each minute: answered in 1 of 1088 s, none wrong by
// more than 5 bpm. Movement of about half the pulse's height is the hard case: in tuning, 0.4 % of
// such seconds showed a heart rate off by more than 5 bpm and 4 % an SpO2 off by more than 4 %. Six
// simulated cuffs through the simulated 10-bit converter, with the simulation's own ratios:
// systolic +1.4 mmHg (SD 0.5), diastolic -0.5 (0.2).
//
// On recordings of people: intensive care, each minute within 0.3 bpm of the electrocardiogram, 95
// % answered; twelve phone-camera pulses, mean absolute error of the recordings' means 0.44 bpm
// against a chest strap, 69 % answered; another oximeter's readings during 11 minutes, SpO2 off by
// 2.2 % (root mean square) with the default curve, which is not that sensor's, and by 0.9 % with
// max30101, whose height was fitted on the first half of them. 29 clips of 3 to 7 s on maxm86161:
// 2.8 %, one refused (the half by name with the fitted recordings 3.3 %, the other 2.2 %; each
// judged by a line through the others 3.0 %). Twelve cuff deflations through the simulated
// converter: systolic 0.0 mmHg (SD 6.1), diastolic -0.5 (4.6), none refused. The pressure above the
// flank was fitted to these twelve; fitted to eleven and judged on the twelfth, in turn, the SD is
// 6.7 and 5.0; fitted to one half by name and judged on the other, systolic is -2.5 (7.0) and +2.5
// (5.6). Their pulse pressures are 36 to 50 mmHg: a much wider one may be read too low, by about a
// fifth of the excess if its envelope is a bell. The thresholds of belief were chosen on simulated
// patients and with a look at icu-bidmc, camera-ppg and the treadmill runs of troika, so those
// recordings do not judge them independently.
//
// Speed: one second of one patient at 100 Hz takes 0.06 to 0.09 ms of one core (`go test -bench
// Patient`), so more than 10,000 patients a core.
//
// # What it does not do
//
// It has no calibration of its own on people: the curves are textbook curves, and with none of them
// is an SpO2 known to be within the 3.5 % that a regulator would ask. PulseOximeter uses no
// accelerometer and gives no value in exercise (PulseRate does, but no chip of a gateway has an
// accelerometer yet). It does not tell rhythms apart, and gives no rate below 27 or above 250 bpm.
// It trusts the sampling rate that it is told. It does not notice a finger of the wrong patient,
// and protects against no forged samples.
package signal
