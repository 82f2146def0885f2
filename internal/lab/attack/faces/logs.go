package faces

import (
	"context"
	"crypto/rand"
	"time"

	"vitalseal/internal/lab/attack"
)

// tokenInLog shows tokens wherever a request can hold one, and looks through every log.
func tokenInLog(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	planted := "eyJhbGciOiJub25lIn0." + rand.Text() + "." + rand.Text()
	for _, r := range []attack.Request{
		{Method: "GET", Path: "/api/beds?token=" + s.Access, Bearer: s.Access},
		{Method: "GET", Path: "/api/beds", Header: map[string]string{"Cookie": "vitalseal_session=" + planted}},
		{Method: "GET", Path: "/api/patients/" + planted, Bearer: planted},
		{Method: "GET", Path: "/update?api_key=" + planted + "&field1=1"},
		{Method: "POST", Path: "/api/session/refresh", Body: map[string]string{"refresh_token": s.Refresh}},
		{Method: "POST", Path: "/api/session", Body: map[string]string{"login": planted, "password": planted}},
	} {
		if _, err := t.Front().Send(ctx, r); err != nil {
			return attack.Result{}, err
		}
	}
	time.Sleep(300 * time.Millisecond) // a log's writer may lag; nothing tells when it has caught up
	found, looked, err := attack.Search(t.Path("logs"), s.Access, s.Refresh, planted, planted[20:46])
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(found != "", attack.Word("in no log"), "a token stands in a log", "in no log", "%d files searched%s", looked, found)
}
