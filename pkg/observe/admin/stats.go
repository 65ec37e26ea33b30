package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/observe/stats/render"
)

// stats answers /stats.
func (s *Server) stats(p *reply, r *request) error {
	format := r.query["format"]
	if format == "prometheus" {
		return s.prometheus(p, r)
	}
	options, refusal := s.renderOptions(r.query)
	if refusal != "" {
		p.text(http.StatusBadRequest, refusal)
		return nil
	}
	s.flush()
	switch format {
	case "", "text":
		return render.Text(p, s.opt.Stats, options)
	case "json":
		p.typed(typeJSON)
		if r.query.has("pretty") {
			return prettyStats(p, s.opt.Stats, options)
		}
		return render.JSON(p, s.opt.Stats, options)
	case "html", "active-html":
		return statsPage(p, s.opt.Stats, options, format == "active-html")
	}
	p.text(http.StatusBadRequest, "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n")
	return nil
}

// prometheus answers /stats/prometheus, in OpenMetrics to those who ask for nothing else.
func (s *Server) prometheus(p *reply, r *request) error {
	options, refusal := s.renderOptions(r.query)
	if refusal == "" && (options.Buckets == render.Disjoint || options.Buckets == render.Detailed) {
		refusal = "unsupported prometheus histogram bucket mode"
	}
	if refusal != "" {
		p.text(http.StatusBadRequest, refusal)
		return nil
	}
	s.flush()
	p.w.Header().Set("Vary", "Accept")
	if wantsOpenMetrics(strings.Join(r.Header.Values("Accept"), ",")) {
		p.typed(typeOpenMetrics)
		return render.OpenMetrics(p, s.opt.Stats, options)
	}
	return render.Prometheus(p, s.opt.Stats, options)
}

// renderOptions reads the parameters of both; the refusal is the text of a 400, "" when all is well.
func (s *Server) renderOptions(q query) (o render.Options, refusal string) {
	o = render.Options{UsedOnly: q.has("usedonly"), TextReadouts: q.has("text_readouts"), Namespaces: s.opt.StatNamespaces}
	var err error
	if filter := q["filter"]; filter != "" {
		if o.Filter, err = regexp.Compile(filter); err != nil {
			return o, "Invalid re2 regex"
		}
	}
	if o.Buckets, err = render.ParseBucketMode(q["histogram_buckets"]); err != nil {
		return o, "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|none)\n"
	}
	if o.Hidden, err = render.ParseHidden(q["hidden"]); err != nil {
		return o, "usage: /stats?hidden=(include|exclude|showonly)\n\n"
	}
	if o.Type, err = render.ParseType(q["type"]); err != nil {
		return o, "invalid &type= param"
	}
	return o, ""
}

func (s *Server) flush() {
	if s.opt.FlushStats != nil {
		s.opt.FlushStats()
	}
}

func prettyStats(w io.Writer, store *stats.Store, o render.Options) error {
	var raw, pretty bytes.Buffer
	if err := render.JSON(&raw, store, o); err != nil {
		return err
	}
	if err := json.Indent(&pretty, raw.Bytes(), "", " "); err != nil {
		return fmt.Errorf("indent stats: %w", err)
	}
	pretty.WriteByte('\n')
	_, err := w.Write(pretty.Bytes())
	return err
}

// statsPage shows the text form in a page, which loads itself again every few seconds when it is active.
func statsPage(p *reply, store *stats.Store, o render.Options, active bool) error {
	var text bytes.Buffer
	if err := render.Text(&text, store, o); err != nil {
		return err
	}
	head := ""
	if active {
		head = `<meta http-equiv="refresh" content="5">`
	}
	p.typed(typeHTML)
	p.w.Header().Set("Content-Security-Policy", pagePolicy)
	_, err := fmt.Fprintf(p, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">%s\n<title>weir stats</title>\n<style>%s</style>\n</head>\n"+
		"<body>\n<p><a href=\"/\">weir admin</a></p>\n<pre>%s</pre>\n</body>\n</html>\n", head, pageStyle, html.EscapeString(text.String()))
	return err
}

// resetCounters answers /reset_counters.
func (s *Server) resetCounters(p *reply, _ *request) error {
	s.opt.Stats.ResetCounters()
	p.ok()
	return nil
}
