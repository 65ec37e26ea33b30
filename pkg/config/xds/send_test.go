package xds

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAcksKeepTogether(t *testing.T) {
	t.Parallel()
	accepted, rejected := ack{nonce: "1"}, ack{nonce: "2", err: errors.New("bad")}
	many := make([]ack, maxAcks+1)
	tests := map[string]struct {
		sotw  bool
		types map[string]*subscription
		since time.Duration // since the last request
		want  time.Duration
	}{
		"nothing to say":              {types: map[string]*subscription{"a": {}}},
		"soon after a request":        {types: map[string]*subscription{"a": {acks: []ack{accepted}}}, since: ackGap / 5, want: ackGap * 4 / 5},
		"long after":                  {types: map[string]*subscription{"a": {acks: []ack{accepted}}}, since: ackGap},
		"state of the world":          {sotw: true, types: map[string]*subscription{"a": {acks: []ack{accepted}}}},
		"a rejection":                 {types: map[string]*subscription{"a": {acks: []ack{accepted, rejected}}}},
		"names of another type":       {types: map[string]*subscription{"a": {acks: []ack{accepted}}, "b": {dirty: true}}},
		"as many as are to be kept":   {types: map[string]*subscription{"a": {acks: many[1:]}}, want: ackGap},
		"one more than is to be kept": {types: map[string]*subscription{"a": {acks: many}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &Mux{opt: Options{Delta: !tt.sotw}, types: tt.types}
				last := time.Now().Add(-tt.since)
				if got := m.patience(last); max(got, 0) != tt.want {
					t.Errorf("waits %v, want %v", got, tt.want)
				}
			})
		})
	}
}
