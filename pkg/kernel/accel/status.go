package accel

import "fmt"

// Status is what was accelerated so far.
type Status struct {
	// Active connections are accelerated now; Accelerated counts all.
	Active, Accelerated uint64
	// Refused counts connections that were not taken in, by reason.
	Refused map[string]uint64
	// Messages and Bytes went past TCP.
	Messages, Bytes uint64
	// OverLimit and BehindTCP count sends by TCP of accelerated connections: because too much waited in the receiver, or
	// because something that was sent by TCP did.
	OverLimit, BehindTCP uint64
	// Sockets counts those of applications that were taken in; NoRoom, EarlyData, Multipath and Zerocopy those that were not.
	Sockets, NoRoom, EarlyData, Multipath, Zerocopy uint64
}

// Status reads the counters.
func (a *Accelerator) Status() (Status, error) {
	s := Status{Accelerated: a.taken.Load(), Refused: map[string]uint64{}}
	a.mu.Lock()
	s.Active = uint64(a.users)
	a.mu.Unlock()
	for r := PeerNotCaptured; r < reasons; r++ {
		s.Refused[r.String()] = a.refusals[r].Load()
	}
	for i, to := range [counters]*uint64{
		counterMessages: &s.Messages, counterBytes: &s.Bytes, counterOverLimit: &s.OverLimit, counterBehindTCP: &s.BehindTCP,
		counterSockets: &s.Sockets, counterNoRoom: &s.NoRoom, counterEarlyData: &s.EarlyData, counterMultipath: &s.Multipath,
		counterZerocopy: &s.Zerocopy,
	} {
		var perCPU []uint64
		if err := a.objects.Counters.Lookup(uint32(i), &perCPU); err != nil {
			return s, fmt.Errorf("read counters of acceleration: %w", err)
		}
		for _, n := range perCPU {
			*to += n
		}
	}
	return s, nil
}
