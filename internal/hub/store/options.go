package store

import (
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/channel"
)

// WithRetention sets how long chunks stay; the default is for ever.
func WithRetention(r archive.Retention) Option { return func(o *options) { o.archive.Retention = r } }

// WithQuota sets what may be stored in free channels and TalkBacks.
func WithQuota(q channel.Quota) Option { return func(o *options) { o.quota = q } }

// WithPostgres keeps everything in the PostgreSQL database of dsn (a URL or key=value words) instead of files in Open's
// directory. Several hubs may then have the same store open at once. Empty means files.
func WithPostgres(dsn string) Option { return func(o *options) { o.postgres = dsn } }

// WithConfirmAfter sets how long a sensor must have been silent for its return to be questioned; zero means DefaultConfirmAfter.
func WithConfirmAfter(d time.Duration) Option {
	return func(o *options) {
		if d > 0 {
			o.confirmAfter = d
		}
	}
}

type options struct {
	now          func() time.Time
	archive      archive.Options
	partitions   int
	confirmAfter time.Duration
	postgres     string
	quota        channel.Quota
	writeFails   func() error // of tests: an error keeps chunks and entries from being stored
}

func defaults() options {
	return options{now: time.Now, partitions: 40, confirmAfter: attribution.DefaultConfirmAfter, quota: channel.DefaultQuota(),
		archive: archive.DefaultOptions()}
}

// Option changes a default of Open.
type Option func(*options)

// WithClock replaces time.Now.
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// WithWatchQueue sets how many chunks a subscription holds for a slow reader, at least 1; the default is 512.
func WithWatchQueue(n int) Option { return func(o *options) { o.archive.WatchQueue = max(n, 1) } }

// WithOpenPartitions sets how many days' files are kept open, at least 1; the default is 40: a month and some.
func WithOpenPartitions(n int) Option { return func(o *options) { o.partitions = max(n, 1) } }
