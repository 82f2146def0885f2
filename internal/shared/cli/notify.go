package cli

import (
	"context"
	"net"
	"os"
	"strings"
)

// NotifyReady tells what supervises this process (systemd with Type=notify, or the demo) that it is up. It follows
// sd_notify(3): one datagram to the socket named in NOTIFY_SOCKET; without that variable it does nothing.
func NotifyReady() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := (&net.Dialer{}).DialContext(context.Background(), "unixgram", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("READY=1"))
	return err
}
