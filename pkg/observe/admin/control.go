package admin

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/weir-proxy/weir/pkg/observe/log"
)

// quit answers /quitquitquit.
func (s *Server) quit(p *reply, _ *request) error {
	p.ok()
	s.log.Warn("exiting: asked to by the admin interface")
	s.opt.Control.Quit()
	return nil
}

// drainListeners answers /drain_listeners. As in Envoy a parameter is on when it is there, whatever its value.
func (s *Server) drainListeners(p *reply, r *request) error {
	graceful, skipExit := r.query.has("graceful"), r.query.has("skip_exit")
	if skipExit && !graceful {
		p.text(http.StatusBadRequest, "skip_exit requires graceful\n")
		return nil
	}
	s.opt.Control.DrainListeners(graceful, r.query.has("inboundonly"), skipExit)
	p.ok()
	return nil
}

// healthcheckFail answers /healthcheck/fail.
func (s *Server) healthcheckFail(p *reply, _ *request) error {
	s.opt.Control.FailHealthcheck(true)
	p.ok()
	return nil
}

// healthcheckOK answers /healthcheck/ok.
func (s *Server) healthcheckOK(p *reply, _ *request) error {
	s.opt.Control.FailHealthcheck(false)
	p.ok()
	return nil
}

// reopenLogs answers /reopen_logs.
func (s *Server) reopenLogs(p *reply, _ *request) error {
	s.opt.Control.ReopenLogs()
	p.ok()
	return nil
}

// logging answers /logging.
func (s *Server) logging(p *reply, r *request) error {
	var b strings.Builder
	status := http.StatusOK
	if problem := s.changeLevels(r.query); problem != "" {
		status = http.StatusBadRequest
		b.WriteString("error: " + problem + "\n\n" +
			"usage: /logging?<name>=<level> (change single level)\n" +
			"usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n" +
			"usage: /logging?level=<level> (change all levels)\n" +
			"levels: " + strings.Join(levelNames(), " ") + " \n")
	}
	b.WriteString("active loggers:\n")
	levels := s.opt.Log.List()
	for _, name := range s.opt.Log.Names() {
		b.WriteString("  " + name + ": " + log.LevelName(levels[name]) + "\n")
	}
	b.WriteString("\n")
	p.text(status, b.String())
	return nil
}

// changeLevels does what the parameters ask for, all or nothing, and returns what is wrong with them.
func (s *Server) changeLevels(q query) (problem string) {
	if len(q) == 2 && q.has("level") && q.has("paths") {
		// The form of the index page sends both, one of them empty.
		for _, name := range [...]string{"level", "paths"} {
			if q[name] == "" {
				delete(q, name)
			}
		}
	}
	if len(q) == 0 || len(q) == 1 && q.has("level") && q["level"] == "" {
		return ""
	}
	if len(q) != 1 {
		return "invalid number of parameters"
	}
	if text, ok := q["level"]; ok {
		level, err := log.ParseLevel(text)
		if err != nil {
			return "unknown logger level"
		}
		s.opt.Log.SetAll(level)
		return ""
	}
	levels, problem := namedLevels(q)
	if problem != "" {
		return problem
	}
	if err := s.opt.Log.SetSome(levels); err != nil {
		return "unknown logger name"
	}
	return ""
}

// namedLevels reads "paths=a:debug,b:info" or "a=debug".
func namedLevels(q query) (levels map[string]slog.Level, problem string) {
	levels = make(map[string]slog.Level)
	for key, value := range q {
		pairs := []string{key + ":" + value}
		if key == "paths" {
			pairs = strings.Split(value, ",")
		}
		for _, pair := range pairs {
			if strings.TrimSpace(pair) == "" {
				continue
			}
			name, text, _ := strings.Cut(pair, ":")
			if name == "" || text == "" {
				return nil, "empty logger name or empty logger level"
			}
			level, err := log.ParseLevel(text)
			if err != nil {
				return nil, "unknown logger level"
			}
			levels[name] = level
		}
	}
	return levels, ""
}

func levelNames() []string {
	return []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
}
