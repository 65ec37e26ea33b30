package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// typeEvents is the content type of JSON objects that follow each other.
const typeEvents = "application/x-ndjson"

// eventsTimeout is how long a client may take for one line.
const eventsTimeout = 30 * time.Second

// Events tells of what happens while somebody looks.
type Events interface {
	// StreamEvents calls begin when it listens, and then emit with each line until ctx ends. An error before begin is a BadParameters
	// or says why there are none; emit's error ends it.
	StreamEvents(ctx context.Context, params url.Values, begin func(text bool), emit func(line []byte) error) error
}

// BadParameters says what is wrong with the parameters of a request.
type BadParameters struct{ Err error }

// Error says what is wrong.
func (b BadParameters) Error() string { return b.Err.Error() }

// Unwrap returns the cause.
func (b BadParameters) Unwrap() error { return b.Err }

// events answers /weir/events: JSON, one object in each line, for as long as the client stays.
func (s *Server) events(p *reply, r *request) error {
	if s.opt.Events == nil {
		p.typed(typeEvents) // there are none, and never will be
		p.text(http.StatusOK, "")
		return nil
	}
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.text(http.StatusBadRequest, "read parameters: "+err.Error()+"\n")
		return nil
	}
	s.dropUnfilled(r.URL.Path, params)
	control := http.NewResponseController(p.w)
	begun := false
	begin := func(text bool) {
		begun = true
		if !text {
			p.typed(typeEvents)
		}
		// The bounds on whole requests are for those that end.
		_ = control.SetReadDeadline(time.Time{})
		p.start()
		_ = control.Flush()
	}
	emit := func(line []byte) error {
		_ = control.SetWriteDeadline(time.Now().Add(eventsTimeout))
		if _, err := p.Write(line); err != nil {
			return err
		}
		return control.Flush()
	}
	err = s.opt.Events.StreamEvents(r.Context(), params, begin, emit)
	var wrong BadParameters
	switch {
	case err == nil || begun: // the client has gone
		_ = control.SetWriteDeadline(time.Now().Add(eventsTimeout))
		return nil
	case errors.As(err, &wrong):
		p.text(http.StatusBadRequest, err.Error()+"\n")
		return nil
	}
	p.text(http.StatusServiceUnavailable, fmt.Sprintf("%v\n", err))
	return nil
}
