package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWantsOpenMetrics(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"":                             false,
		"*/*":                          false,
		"text/plain":                   false,
		"application/openmetrics-text": true,
		"Application/OpenMetrics-Text; version=1.0.0, */*;q=0.1":                      true,
		"application/openmetrics-text;q=0":                                            false,
		"application/openmetrics-text;q=x":                                            false,
		"application/openmetrics-text, text/plain;q=0":                                true,
		"application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3,*/*;q=0.2": false,
	} {
		if got := wantsOpenMetrics(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func TestOpenMetrics(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{}, nil)
	for _, target := range []string{"/stats/prometheus", "/stats?format=prometheus"} {
		for accept, want := range map[string]string{"application/openmetrics-text": typeOpenMetrics, "text/plain": typeText} {
			r := httptest.NewRequest(http.MethodGet, target, nil)
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			open := strings.HasSuffix(w.Body.String(), "# EOF\n")
			if got := w.Header().Get("Content-Type"); got != want || open != (want == typeOpenMetrics) || w.Header().Get("Vary") != "Accept" {
				t.Errorf("%s for %s: %s, Vary %q\n%s", target, accept, got, w.Header().Get("Vary"), w.Body)
			}
		}
	}
}

func TestBadParameters(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fake{}, nil)
	for target, want := range map[string]string{
		"/stats?filter=(":                              "Invalid re2 regex",
		"/stats/prometheus?filter=[":                   "Invalid re2 regex",
		"/stats?type=counters":                         "invalid &type= param",
		"/stats?format=xml":                            "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n",
		"/stats?hidden=yes":                            "usage: /stats?hidden=(include|exclude|showonly)\n\n",
		"/stats?histogram_buckets=all":                 "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|none)\n",
		"/stats/prometheus?histogram_buckets=detailed": "unsupported prometheus histogram bucket mode",
	} {
		if w := ask(s, http.MethodGet, target); w.Code != http.StatusBadRequest || w.Body.String() != want {
			t.Errorf("%s: %d %q, want 400 %q", target, w.Code, w.Body, want)
		}
	}
	if w := ask(s, http.MethodGet, "/stats?hidden=showonly"); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("only hidden statistics: %d %q", w.Code, w.Body)
	}
}
