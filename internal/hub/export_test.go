package hub

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"vitalseal/internal/way/seal"
)

// ShortestTicket is the shortest ticket lifetime that a configuration may have.
const ShortestTicket = time.Minute

// ForgetFirstTicket makes a stopped hub's store that of a version that noted nothing of the first ticket.
func ForgetFirstTicket(ctx context.Context, cfg Config) (err error) {
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(cfg.Data, rootKeyFile))
	if err != nil {
		return err
	}
	st, err := openStore(ctx, cfg, keys, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return st.DeleteSecret(ctx, secretFirstTicket)
}
