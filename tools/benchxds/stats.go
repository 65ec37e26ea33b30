package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// stats measures the page that Prometheus reads, and what reading it does to requests.
//
// Who reads it is a process of its own with the least priority, nice 19: a Prometheus runs on another host, and what it spends there is
// not to be charged to weir. Here it has the same cores, so that what it spends is told as stats.reader and counts as foreign. It does
// nothing with what it reads.
func (b *bench) stats(ctx context.Context) (err error) {
	// A fifth of the whole fleet has about 200,000 series.
	w, err := b.running(ctx, fleet{scale: max(1, b.scale/5)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	series := b.figure("stats.series", "series of /stats/prometheus", "series", 0)
	took := b.figure("stats.time", "the page, for each 200,000 series", "s", 1)
	cost := b.figure("stats.cost", "the page, for each 200,000 series", "ms CPU", 0)
	reader := b.figure("stats.reader", "the reader of it, for each 200,000 series", "ms CPU", 0)
	if err := b.warm(ctx, w); err != nil {
		return err
	}
	n, err := w.count(ctx)
	if err != nil {
		return err
	}
	series.Add(n)
	f := b.latencies("stats", "while it is read every second")
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return w.profiled(ctx, b.profile, "stats", func() error {
		for range max(1, int(b.storm/slice)) {
			err := f.pair(ctx, b, w, func(measure func() error) error { return b.scraped(ctx, w, 200_000/n, took, reader, measure) })
			if err != nil {
				return err
			}
		}
		f.done()
		spent, err := w.spent(func() error { return w.scrapes(ctx) })
		if err != nil {
			return err
		}
		cost.Add(spent.Seconds() * 1000 / pages * 200_000 / n)
		return nil
	})
}

// scraped measures while the page is read every second. What a page takes is told times scale.
func (b *bench) scraped(ctx context.Context, w *weir, scale float64, took, spent *measure.Figure, during func() error) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	reader := exec.CommandContext(ctx, "nice", "-n", "19", self, "-scrape", w.url(statsPage))
	reader.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var told, said bytes.Buffer
	reader.Stdout, reader.Stderr = &told, &said
	if err := reader.Start(); err != nil {
		return fmt.Errorf("start reader of statistics: %w", err)
	}
	err = errors.Join(during(), reader.Process.Signal(syscall.SIGTERM))
	if ended := reader.Wait(); ended != nil {
		return errors.Join(err, fmt.Errorf("read statistics: %w: %s", ended, said.Bytes()))
	}
	cpu := reader.ProcessState.UserTime() + reader.ProcessState.SystemTime()
	b.readers += cpu
	read := strings.Fields(told.String())
	for _, text := range read {
		d, parsed := time.ParseDuration(text)
		if parsed != nil {
			return errors.Join(err, fmt.Errorf("read times of pages: %w", parsed))
		}
		took.Add(d.Seconds() * scale)
	}
	spent.Add(cpu.Seconds() * 1000 / float64(max(1, len(read))) * scale)
	return err
}

// serveScrape is the reader: it reads a page every second until ctx ends, at least once, and writes how long each took.
func serveScrape(ctx context.Context, url string) error {
	buffer := make([]byte, 256<<10)
	for {
		begin := time.Now()
		if err := readPage(url, buffer); err != nil {
			return err
		}
		took := time.Since(begin)
		fmt.Println(took)
		if pause(ctx, time.Second-took) != nil {
			return nil
		}
	}
}

func readPage(url string, buffer []byte) error {
	resp, err := http.Get(url) //nolint:noctx // a page that was begun is read to its end
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	for {
		_, err := resp.Body.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pages is how many are read to know their CPU time.
const pages = 5

// scrapes reads the page some times, with nothing beside.
func (w *weir) scrapes(ctx context.Context) error {
	for range pages {
		if err := w.copied(ctx, http.MethodGet, statsPage, io.Discard); err != nil {
			return err
		}
	}
	return nil
}

// statsPage is the page that Prometheus reads.
const statsPage = "/stats/prometheus"

// count is how many series the page has.
func (w *weir) count(ctx context.Context) (float64, error) {
	text, err := w.get(ctx, statsPage)
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(text) {
		if line[0] != '#' {
			n++
		}
	}
	return float64(n), nil
}
