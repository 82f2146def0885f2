package hub

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/hub/sink/egress"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
)

// forwarding makes the engine that forwards channels to clouds. Its way out is an egress that the inventory calls active and that
// shows the key the inventory knows; TLS to the cloud begins above that, here.
func forwarding(cfg Config, st *store.Store, engine *access.Engine, endpoint overlay.Endpoint, inv *fleet.Inventory, log *slog.Logger) (*sink.Engine, error) {
	var roots []byte
	if cfg.Cloud.CAFile != "" {
		var err error
		if roots, err = os.ReadFile(cfg.Cloud.CAFile); err != nil {
			return nil, fmt.Errorf("hub: configuration: cloud: ca_file: %w", err)
		}
	}
	e, err := sink.New(sink.Config{Store: st, Access: engine, RootsPEM: roots, Interval: cfg.Cloud.Interval, Rescan: cfg.Cloud.Rescan, Log: log,
		Dial: func(ctx context.Context, target string) (net.Conn, error) {
			return egress.Dial(ctx, endpoint, target, inv.AdmitHost)
		}})
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return e, nil
}
