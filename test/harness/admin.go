package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Admin is a client of weir's admin interface.
type Admin struct {
	t      testing.TB
	client *http.Client
}

func newAdmin(h *Host) *Admin {
	client := h.Client()
	// Each request has its own connection, which is gone afterwards: tests count weir's descriptors.
	client.Transport = &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}
	return &Admin{h.t, client}
}

// Get returns the answer of an endpoint, whatever its status.
func (a *Admin) Get(path string) (status int, body string) {
	a.t.Helper()
	return a.ask(http.MethodGet, path)
}

// Post does the same for an endpoint that changes something.
func (a *Admin) Post(path string) (status int, body string) {
	a.t.Helper()
	return a.ask(http.MethodPost, path)
}

func (a *Admin) ask(method, path string) (int, string) {
	a.t.Helper()
	status, body, err := a.do(method, path)
	if err != nil {
		a.t.Fatalf("admin %s: %v", path, err)
	}
	return status, body
}

func (a *Admin) do(method, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(a.t.Context()), method, "http://"+AdminAddr+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// Page returns the body of an endpoint that must answer 200.
func (a *Admin) Page(path string) string {
	a.t.Helper()
	status, body := a.Get(path)
	if status != http.StatusOK {
		a.t.Fatalf("admin %s: status %d: %s", path, status, body)
	}
	return body
}

// Ready tells whether weir says that it serves; an admin interface that does not answer does not.
func (a *Admin) Ready() bool {
	status, _, err := a.do(http.MethodGet, "/ready")
	return err == nil && status == http.StatusOK
}

// Stat returns a counter or gauge, which must be there.
func (a *Admin) Stat(name string) int {
	a.t.Helper()
	n, err := a.stat(name)
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

func (a *Admin) stat(name string) (int, error) {
	a.t.Helper()
	for line := range strings.Lines(a.Page("/stats")) {
		if value, found := strings.CutPrefix(line, name+": "); found {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				return 0, fmt.Errorf("stat %s: %w", name, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("there is no stat %s", name)
}

// AwaitStat waits until a counter or gauge is there and satisfies the condition.
func (a *Admin) AwaitStat(name string, condition func(int) bool) {
	a.t.Helper()
	EventuallyNil(a.t, "stat "+name, func() error {
		n, err := a.stat(name)
		if err == nil && !condition(n) {
			err = fmt.Errorf("it is %d", n)
		}
		return err
	})
}

// JSON decodes an endpoint's answer.
func (a *Admin) JSON(path string, into any) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.Page(path)), into); err != nil {
		a.t.Fatalf("admin %s: %v", path, err)
	}
}
