package xds

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// newDeltaRig runs a delta Mux that rejects whatever has a resource "bad".
func newDeltaRig(t *testing.T) (*rig, *fakeStream) {
	t.Helper()
	r := newRig(t, func(o *Options) { o.NodeOnce, o.Delta = true, true })
	r.rec.verdict = func(u Update) error {
		if slices.Contains(namesOf(u), "bad") {
			return errors.New("no")
		}
		return nil
	}
	r.mux.Subscribe(ClusterType, "bad")
	r.run(t)
	s := r.stream(t)
	receive(t, s.delta)
	return r, s
}

// answerAtOnce answers each NACK with another bad version, until one is held back. It returns the nonce of that.
func answerAtOnce(t *testing.T, r *rig, s *fakeStream) (held string) {
	t.Helper()
	for i := range 2 * maxHaste {
		nonce := fmt.Sprint(i)
		s.change(ClusterType, nonce, "bad="+nonce)
		r.rec.next(t)
		select {
		case got := <-s.delta:
			if got.ResponseNonce != nonce || got.ErrorDetail == nil {
				t.Fatalf("request %v, want the NACK of %s", got, nonce)
			}
		case <-time.After(firstHold * 4 / 5):
			if i < maxHaste {
				t.Fatalf("rejection %d was held", i)
			}
			return nonce
		}
	}
	t.Fatal("the client answers as fast as it is asked")
	return ""
}

func TestDeltaAnswersNACKsThatChaseEachOtherSlowly(t *testing.T) {
	r, s := newDeltaRig(t)
	held := answerAtOnce(t, r, s)
	if got := receive(t, s.delta); got.ResponseNonce != held || got.ErrorDetail == nil {
		t.Errorf("request %v, want the NACK of %s", got, held)
	}
	// The next waits twice as long, and everything else goes on: responses are applied, subscriptions leave.
	s.change(ClusterType, "later", "bad=later")
	r.rec.next(t)
	r.mux.Subscribe(ClusterType, "more")
	if got := receive(t, s.delta); got.ResponseNonce != "" || !slices.Equal(got.ResourceNamesSubscribe, []string{"more"}) {
		t.Errorf("request %v, want the subscription alone", got)
	}
	// What is good ends the wait, and each response has its answer.
	s.change(ClusterType, "good", "more=1")
	if got := namesOf(r.rec.next(t)); !slices.Equal(got, []string{"more"}) {
		t.Errorf("update of %v", got)
	}
	if got := receive(t, s.delta); got.ResponseNonce != "later" || got.ErrorDetail == nil {
		t.Errorf("request %v, want the NACK of later", got)
	}
	if got := receive(t, s.delta); got.ResponseNonce != "good" || got.ErrorDetail != nil {
		t.Errorf("request %v, want the ACK of good", got)
	}
	s.change(ClusterType, "fresh", "bad=fresh")
	began := time.Now()
	if got := receive(t, s.delta); got.ResponseNonce != "fresh" || time.Since(began) > firstHold {
		t.Errorf("request %v after %s, want a NACK at once", got, time.Since(began))
	}
}

// TestDeltaHoldsSoManyNACKs has a control plane that waits for no answers: none gets lost, and few are kept.
func TestDeltaHoldsSoManyNACKs(t *testing.T) {
	s, now := &subscription{wildcard: true}, time.Now()
	m := &Mux{opt: Options{Delta: true}}
	const all = 3 * maxHeld
	var told []string
	for i := range all {
		s.settled(&Update{}, ack{nonce: fmt.Sprint(i), err: errors.New("no")}, true, now.Add(time.Hour))
		for _, r := range m.requests(ClusterType, s) {
			told = append(told, r.(deltaRequest).ResponseNonce)
		}
		if len(s.acks) > maxHeld {
			t.Fatalf("%d are held", len(s.acks))
		}
	}
	s.settled(&Update{}, ack{nonce: "good"}, true, now.Add(time.Hour))
	for _, r := range m.requests(ClusterType, s) {
		told = append(told, r.(deltaRequest).ResponseNonce)
	}
	if len(told) != all+1 || told[0] != "0" || told[all] != "good" {
		t.Errorf("%d were told: %v", len(told), told)
	}
}
