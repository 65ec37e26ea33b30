package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// topAnswer is what of /weir/connections is shown.
type topAnswer struct {
	Total       int
	Connections []topConnection
	Problems    []string
}

type topConnection struct {
	Verdict, Protocol, Command, Container, Namespace, Client, Destination, Listener, Route, Cluster, Endpoint string
	PID                                                                                                       int
	Accelerated                                                                                               bool
	BytesSent                                                                                                 uint64 `json:"bytes_sent"`
	BytesReceived                                                                                             uint64 `json:"bytes_received"`
	RTT                                                                                                       int64  `json:"rtt_us"`
	Age                                                                                                       int64  `json:"age_ms"`

	// sending and receiving are the rates in bytes a second.
	sending, receiving float64
}

// Sortings of the table. The first row has the most, or for equal ones is the first of them by name.
const (
	sortRate  = "rate"
	sortBytes = "bytes"
	sortRTT   = "rtt"
	sortAge   = "age"
)

func sortings() []string { return []string{sortRate, sortBytes, sortRTT, sortAge} }

// topKey is what tells a connection from the others of the answer before.
type topKey struct{ namespace, client, destination, verdict, protocol string }

// topBytes is how far a connection was.
type topBytes struct{ sent, received uint64 }

// topTable is the latest answer, with rates since the one before. It is used by one goroutine.
type topTable struct {
	sorting string
	topAnswer
	at time.Time
	// rated is set once there are rates.
	rated  bool
	before map[topKey]topBytes
	// problem is why the latest poll gave nothing.
	problem error
}

func newTopTable(sorting string) *topTable { return &topTable{sorting: cmp.Or(sorting, sortRate)} }

func (t *topTable) nextSorting() {
	all := sortings()
	t.sorting = all[(slices.Index(all, t.sorting)+1)%len(all)]
}

// take replaces the answer. A connection that is new has sent all its bytes since the last one.
func (t *topTable) take(answer *topAnswer, now time.Time) {
	since := now.Sub(t.at).Seconds()
	t.rated = !t.at.IsZero() && since > 0
	seen := make(map[topKey]topBytes, len(answer.Connections))
	for i := range answer.Connections {
		c := &answer.Connections[i]
		key := topKey{c.Namespace, c.Client, c.Destination, c.Verdict, c.Protocol}
		seen[key] = topBytes{c.BytesSent, c.BytesReceived}
		before := t.before[key]
		if c.BytesSent < before.sent || c.BytesReceived < before.received {
			before = topBytes{} // another connection with the same addresses
		}
		if t.rated {
			c.sending, c.receiving = float64(c.BytesSent-before.sent)/since, float64(c.BytesReceived-before.received)/since
		}
	}
	t.topAnswer, t.at, t.before = *answer, now, seen
}

func (t *topTable) sort() {
	weight := func(c *topConnection) float64 {
		switch t.sorting {
		case sortRate:
			return c.sending + c.receiving
		case sortRTT:
			return float64(c.RTT)
		case sortAge:
			return float64(c.Age)
		}
		return float64(c.BytesSent + c.BytesReceived)
	}
	slices.SortStableFunc(t.Connections, func(a, b topConnection) int {
		return cmp.Or(cmp.Compare(weight(&b), weight(&a)), cmp.Compare(a.Command, b.Command), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Client, b.Client))
	})
}

// topColumn is a column of the table.
type topColumn struct {
	title string
	right bool
	// drop is when the column is given up for lack of room, 0 being never and 1 first; narrow is how far it may be cut before.
	drop, narrow int
	// optional columns are there only when a row has something in them.
	optional bool
	// sorting by it keeps the column.
	sorting string
	cell    func(*topConnection) string
}

func topColumns(rated bool, sorting string) []topColumn {
	columns := []topColumn{
		{title: "PROCESS", narrow: 12, cell: func(c *topConnection) string { return process(c) }},
		{title: "CONTAINER", drop: 4, narrow: 12, cell: func(c *topConnection) string { return c.Container }},
		{title: "NETNS", drop: 1, narrow: 10, optional: true, cell: func(c *topConnection) string { return c.Namespace }},
		{title: "VERDICT", drop: 16, narrow: 9, cell: func(c *topConnection) string { return strings.TrimSpace(c.Verdict + " " + c.Protocol) }},
		{title: "PAST TCP", drop: 4, optional: true, cell: func(c *topConnection) string {
			if c.Accelerated {
				return "yes"
			}
			return ""
		}},
		{title: "CLIENT", drop: 2, cell: func(c *topConnection) string { return c.Client }},
		{title: "DESTINATION", cell: func(c *topConnection) string { return c.Destination }},
		{title: "LISTENER", drop: 5, narrow: 10, cell: func(c *topConnection) string { return c.Listener }},
		{title: "ROUTE", drop: 3, narrow: 10, optional: true, cell: func(c *topConnection) string { return c.Route }},
		{title: "CLUSTER", drop: 12, narrow: 12, cell: func(c *topConnection) string { return c.Cluster }},
		{title: "ENDPOINT", drop: 10, cell: func(c *topConnection) string { return c.Endpoint }},
	}
	if rated {
		columns = append(columns,
			topColumn{title: "SENT/S", right: true, drop: 13, sorting: sortRate, cell: func(c *topConnection) string { return bytesText(c.sending) }},
			topColumn{title: "RECV/S", right: true, drop: 14, sorting: sortRate, cell: func(c *topConnection) string { return bytesText(c.receiving) }})
	}
	columns = append(columns,
		topColumn{title: "SENT", right: true, drop: 7, sorting: sortBytes, cell: func(c *topConnection) string { return bytesText(float64(c.BytesSent)) }},
		topColumn{title: "RECEIVED", right: true, drop: 8, sorting: sortBytes, cell: func(c *topConnection) string { return bytesText(float64(c.BytesReceived)) }},
		topColumn{title: "RTT", right: true, drop: 6, sorting: sortRTT, cell: func(c *topConnection) string { return rttText(c.RTT) }},
		topColumn{title: "AGE", right: true, drop: 5, sorting: sortAge, cell: func(c *topConnection) string { return ageText(c.Age) }},
	)
	for n := range columns {
		if columns[n].sorting == sorting {
			columns[n].drop = 0
		}
	}
	return columns
}

func process(c *topConnection) string {
	if c.PID == 0 {
		return ""
	}
	return c.Command + "/" + strconv.Itoa(c.PID)
}

// render draws the table into a terminal of that size; 0 means that there is room for all.
func (t *topTable) render(width, height int) string {
	t.sort()
	shown := t.Connections
	head := t.head()
	if height > 0 {
		shown = shown[:min(len(shown), max(height-len(head)-1, 0))]
	}
	columns := topColumns(t.rated, t.sorting)
	cells := make([][]string, len(columns))
	columns = slices.DeleteFunc(columns, func(c topColumn) bool {
		return c.optional && !slices.ContainsFunc(shown, func(row topConnection) bool { return c.cell(&row) != "" })
	})
	widths := make([]int, len(columns))
	for n, c := range columns {
		cells[n] = []string{c.title}
		for i := range shown {
			cells[n] = append(cells[n], cmp.Or(printable(c.cell(&shown[i])), "-"))
		}
		for _, text := range cells[n] {
			widths[n] = max(widths[n], utf8.RuneCountInString(text))
		}
	}
	if width > 0 {
		fit(columns, widths, width)
	}
	var b strings.Builder
	for _, line := range head {
		b.WriteString(cut(printable(line), width) + "\n")
	}
	for row := range len(shown) + 1 {
		b.WriteString(cut(line(columns, cells, widths, row), width) + "\n")
	}
	return b.String()
}

// line is a row of the table. Columns of width 0 are not shown.
func line(columns []topColumn, cells [][]string, widths []int, row int) string {
	var b strings.Builder
	for n, c := range columns {
		if widths[n] == 0 {
			continue
		}
		text := cut(cells[n][row], widths[n])
		pad := strings.Repeat(" ", widths[n]-utf8.RuneCountInString(text))
		if b.Len() > 0 {
			b.WriteString("  ")
		}
		if c.right {
			text, pad = pad, text
		}
		b.WriteString(text + pad)
	}
	return strings.TrimRight(b.String(), " ")
}

// fit drops columns until the others, cut as far as they may be, have room, and shares what is left among those.
func fit(columns []topColumn, widths []int, room int) {
	narrow := slices.Clone(widths)
	for n, c := range columns {
		if c.narrow > 0 {
			narrow[n] = min(widths[n], max(c.narrow, len(c.title)))
		}
		room -= narrow[n] + 2
	}
	room += 2 // none after the last
	for room < 0 {
		first := -1
		for n, c := range columns {
			if narrow[n] > 0 && c.drop > 0 && (first < 0 || c.drop < columns[first].drop) {
				first = n
			}
		}
		if first < 0 {
			break // lines are cut
		}
		room += narrow[first] + 2
		narrow[first], widths[first] = 0, 0
	}
	for n := range columns {
		more := min(widths[n]-narrow[n], max(room, 0))
		widths[n] = narrow[n] + more
		room -= more
	}
}

// head are the lines above the table.
func (t *topTable) head() []string {
	counts := make(map[string]int)
	var sending, receiving float64
	for i := range t.Connections {
		c := &t.Connections[i]
		counts[c.Verdict]++
		sending, receiving = sending+c.sending, receiving+c.receiving
	}
	var parts []string
	for _, v := range []string{"captured", "offloaded", "inbound", "bound"} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	first := fmt.Sprintf("%d connections", t.Total)
	if t.Total == 1 {
		first = "1 connection"
	}
	if shown := len(t.Connections); shown < t.Total {
		first += fmt.Sprintf(", of which the %d with the most bytes", shown)
	}
	if len(parts) > 0 {
		first += ": " + strings.Join(parts, ", ")
	}
	lines := []string{first}
	if t.rated {
		lines = append(lines, fmt.Sprintf("%s  sent %s/s, received %s/s, sorted by %s (s: sort, q: quit)", t.at.Format(time.TimeOnly), bytesText(sending), bytesText(receiving), t.sorting))
	}
	for _, p := range t.Problems {
		lines = append(lines, "incomplete: "+p)
	}
	if t.problem != nil {
		reason, _, _ := strings.Cut(t.problem.Error(), "\n")
		lines = append(lines, "this is old: "+reason)
	}
	return append(lines, "")
}

// printable keeps what others have named from giving the terminal orders.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// cut shortens a text to a number of characters; 0 leaves it.
func cut(text string, width int) string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// bytesText has four or five characters up to 1024 E.
func bytesText(n float64) string {
	units := "KMGTPE"
	if n < 999.5 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	for i := range len(units) {
		if n /= 1024; n < 9.95 {
			return strconv.FormatFloat(n, 'f', 1, 64) + units[i:i+1]
		} else if n < 999.5 || i == len(units)-1 {
			return strconv.FormatFloat(n, 'f', 0, 64) + units[i:i+1]
		}
	}
	return ""
}

func rttText(microseconds int64) string {
	switch ms := float64(microseconds) / 1000; {
	case microseconds <= 0:
		return ""
	case microseconds < 1000:
		return strconv.FormatInt(microseconds, 10) + "µs"
	case ms < 9.95:
		return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
	default:
		return strconv.FormatFloat(ms, 'f', 0, 64) + "ms"
	}
}

func ageText(milliseconds int64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	switch s := milliseconds / 1000; {
	case milliseconds < 0:
		return ""
	case s < minute:
		return fmt.Sprintf("%ds", s)
	case s < hour:
		return fmt.Sprintf("%dm%02ds", s/minute, s%minute)
	case s < day:
		return fmt.Sprintf("%dh%02dm", s/hour, s%hour/minute)
	default:
		return fmt.Sprintf("%dd%02dh", s/day, s%day/hour)
	}
}
