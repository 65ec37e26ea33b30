package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// download is a curl that fetches the catalogue.
type download struct {
	body, head string // files
	done       chan struct{}
	// result and err are there once done is closed.
	result curled
	err    error
}

// fetch starts a download. The caller must wait for it.
func (s *shop) fetch(ctx context.Context) *download {
	d := &download{body: filepath.Join(s.dir, "catalogue"), head: filepath.Join(s.dir, "catalogue.head"), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.result, d.err = s.order.curl(ctx, true, "-o", d.body, "-D", d.head, url+"/catalogue")
	}()
	return d
}

// running tells whether the download has not ended.
func (d *download) running() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// size is how much has come.
func (d *download) size() int64 {
	info, err := os.Stat(d.body)
	if err != nil {
		return 0
	}
	return info.Size()
}

// sum is the SHA-256 of what came.
func (d *download) sum() string {
	content, err := os.ReadFile(d.body)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// servedBy is who says in the response's header to have served it.
func (d *download) servedBy() string {
	head, err := os.ReadFile(d.head)
	if err != nil {
		return "?"
	}
	for line := range strings.Lines(string(head)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "x-served-by") {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

// trouble is a text that follows a failed check.
func (d *download) trouble() string {
	if d.result.status == 0 {
		return ""
	}
	return fmt.Sprintf(" (curl ended with status %d: %s)", d.result.status, firstLine(d.result.err))
}

// shift moves all traffic to v2 while a download through v1 is under way.
func (s *shop) shift(ctx context.Context) error {
	s.step("The control plane moves everything to v2 while a download through v1 runs")
	v1, v2 := s.backends[0], s.backends[1]
	s.command("curl -o catalogue " + url + "/catalogue &")
	fetching, cancel := context.WithCancel(ctx)
	d := s.fetch(fetching)
	defer func() { cancel(); <-d.done }()
	if err := s.underway(ctx, d); err != nil {
		return err
	}
	s.say("%.1f of %.1f MB have come", mb(d.size()), mb(catalogueSize))

	asked := time.Now()
	if err := s.share(100, 100); err != nil {
		return err
	}
	accepted, err := s.plane.accepted(ctx, "RouteConfiguration")
	if err != nil {
		return err
	}
	s.say("xDS     RouteConfiguration version %s: 0%% %s, 100%% %s", accepted, v1.Cluster, v2.Cluster)
	s.check(true, "weir acknowledged it after %d ms", time.Since(asked).Milliseconds())

	target := fmt.Sprintf("%s/stock/[1-%d]", url, afterShift)
	s.command("curl '" + target + "'")
	c, err := s.order.curl(ctx, true, target)
	if err != nil {
		return err
	}
	var t tally
	t.add(c)
	s.all.add(c)
	s.bars(&t)
	s.check(t.by[v2.Cluster] == afterShift && t.failed == 0, "%d of %d requests went to v2%s", t.by[v2.Cluster], afterShift, t.trouble())
	s.check(d.running(), "meanwhile the download goes on: %.1f of %.1f MB have come", mb(d.size()), mb(catalogueSize))
	return s.finish(ctx, d)
}

// underway waits for the first bytes of the download.
func (s *shop) underway(ctx context.Context, d *download) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-s.backends[0].started:
	case <-s.backends[1].started:
	case <-d.done:
		return errors.Join(fmt.Errorf("the download ended at once%s", d.trouble()), d.err)
	case <-limit.C:
		return errors.New("the download did not begin")
	case <-ctx.Done():
		return ctx.Err()
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for d.size() < catalogueSize/4 {
		select {
		case <-tick.C:
		case <-d.done:
			return errors.New("the download ended too early")
		case <-limit.C:
			return errors.New("no bytes of the download came")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// finish waits for the download and checks it.
func (s *shop) finish(ctx context.Context, d *download) error {
	select {
	case <-d.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.err != nil {
		return d.err
	}
	sum, want := d.sum(), s.backends[0].sum()
	s.check(d.result.status == 0 && d.size() == catalogueSize, "the download is complete: %d of %d bytes%s", d.size(), catalogueSize, d.trouble())
	s.check(sum == want, "and intact: SHA-256 %s...", sum[:min(len(sum), 32)])
	s.check(d.servedBy() == s.backends[0].Cluster, "and came from %s, where it began", d.servedBy())
	s.all.total++
	if d.result.status != 0 || sum != want {
		s.all.failed++
	}
	return nil
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// sum compares what the shop counted with what weir and the backends did.
func (s *shop) sum(ctx context.Context) error {
	s.step("Summary")
	d, err := s.weir.decisions(ctx)
	if err != nil {
		return err
	}
	stats, err := s.weir.stats(ctx, `%5Ecluster%5C.inventory`)
	if err != nil {
		return err
	}
	s.say("%-14s %10s %18s %18s %16s", "", "requests", "by weir's figures", "weir: status 2xx", "TLS handshakes")
	var served, counted int64
	strangers := int64(0)
	for _, b := range s.backends {
		name := "cluster." + b.Cluster + "."
		n, figure := b.requests.Load(), stats[name+"upstream_rq_total"]
		s.say("%-14s %10d %18d %18d %16d", b.Cluster, n, figure, stats[name+"upstream_rq_2xx"], stats[name+"ssl.handshake"])
		served += n
		counted += int64(figure)
		strangers += b.strangers.Load()
	}
	s.say("connections that the kernel captured: %d", d.count("captured"))
	s.check(s.all.failed == 0, "%d requests, %d failed%s", s.all.total, s.all.failed, s.all.trouble())
	s.check(served == int64(s.all.total) && counted == served, "order, weir and the backends counted the same: %d", served)
	s.check(strangers == 0, "each request came over TLS with the name (SNI) of its version")
	captured := uint64(canaryMany + 3 + s.followed) // the canary's curl of many requests, the one after the shift, the download
	s.check(d.count("captured") == captured, "the kernel captured the connection of each of %d curls, once", captured)
	fmt.Fprintln(s.out)
	s.verdicts()
	if s.failed() {
		fmt.Fprintf(s.out, "\n%s\n", s.paint(red, "Something was not as it should be."))
		return nil
	}
	fmt.Fprintf(s.out, "\n%s\n", s.paint(green, "All was as it should be."))
	return nil
}
