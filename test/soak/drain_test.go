package soak

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Clients that ask all the time lose no request when the listener that serves them changes again and again, although what still
// runs after the drain time is cut off: they were told in time to go elsewhere.
func TestDrainUnderLoad(t *testing.T) {
	r := start(t, "DELTA_GRPC", rand.New(rand.NewPCG(1, 2)))
	r.change([]*world{r.now, r.now}, " nothing", false)
	c := r.newTraffic()
	defer c.stop()
	for range 12 {
		for _, client := range c.keeping() {
			c.ask(mainAddr, client, map[string]string{"/": "main"})
		}
	}
	for end := time.Now().Add(*duration / 2); time.Now().Before(end) && !t.Failed(); {
		w := *r.now
		w.main = (w.main + 1) % 3
		r.change([]*world{r.now, &w}, " main", false)
	}
	t.Logf("%d changes, %d requests", r.steps, c.asked.Load())
}
