package udp

import (
	"context"
	"time"
)

// How long the end of the process waits for answers.
const (
	// lastAnswers is for what nobody knows of: an application that has connected and not sent yet, or a host with more than one answer.
	lastAnswers = 300 * time.Millisecond
	// longestAnswer is for clients that wait. Who asks for names gives up by then, and who only tells something has no answer to come.
	longestAnswer = 5 * time.Second
	// finishInterval is how often sessions are looked at.
	finishInterval = 20 * time.Millisecond
)

// Finish waits for the last answers, when there are sessions at all. When another process goes on, it also waits until the sessions
// of captured clients are idle, as connections are waited for: their sockets may be connected to the capture sockets of this process.
func (m *Manager) Finish(ctx context.Context) {
	m.mu.Lock()
	relieved, capturing := m.passed, len(m.capture) > 0
	m.mu.Unlock()
	if sessions, _, _ := m.unfinished(); sessions == 0 && !(relieved && capturing) {
		return
	}
	start := time.Now()
	tick := time.NewTicker(finishInterval)
	defer tick.Stop()
	for {
		_, awaiting, captured := m.unfinished()
		took := time.Since(start)
		if took >= lastAnswers && (awaiting == 0 || took >= longestAnswer) && (captured == 0 || !relieved) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// unfinished counts the sessions of all listeners, those whose client waits for an answer, and those of captured clients.
func (m *Manager) unfinished() (sessions, awaiting, captured int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.active {
		sessions += a.handler.Sessions()
		w, c := a.handler.Unfinished()
		awaiting += w
		captured += c
	}
	return sessions, awaiting, captured
}
