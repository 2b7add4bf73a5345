package main

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"time"
)

const headBytesMax = 1 << 16

var endOfHead = []byte("\r\n\r\n")

type request struct {
	method, path, query string
	authorized          bool
	closes              bool
	body                []byte
}

type reply struct {
	status int
	kind   string
	body   []byte
}

// serve answers one connection, request after request, each after the delay.
//
// net/http would take four times the CPU, which broker and worker need on the same cores.
func serve(connection net.Conn, world *world, delay time.Duration) {
	defer connection.Close()
	buffer := make([]byte, 0, 4096)
	out := make([]byte, 0, 1024)
	for {
		asked, rest, ok := read(connection, buffer)
		if !ok {
			return
		}
		answer := world.answer(asked)
		if delay > 0 && answer.kind != jsonOfOurs {
			time.Sleep(delay)
		}
		out = append(out[:0], "HTTP/1.1 "...)
		out = strconv.AppendInt(out, int64(answer.status), 10)
		out = append(out, " -\r\nContent-Type: "...)
		out = append(out, answer.kind...)
		out = append(out, "\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(len(answer.body)), 10)
		out = append(out, endOfHead...)
		out = append(out, answer.body...)
		if _, err := connection.Write(out); err != nil || asked.closes {
			return
		}
		buffer = rest
	}
}

// read returns the next request, and what has come after it.
func read(connection net.Conn, buffer []byte) (*request, []byte, bool) {
	end := bytes.Index(buffer, endOfHead)
	for end < 0 {
		if len(buffer) > headBytesMax {
			return nil, nil, false
		}
		if buffer = more(connection, buffer); buffer == nil {
			return nil, nil, false
		}
		end = bytes.Index(buffer, endOfHead)
	}
	asked, length, ok := head(buffer[:end])
	if !ok {
		return nil, nil, false
	}
	begin := end + len(endOfHead)
	for len(buffer) < begin+length {
		if buffer = more(connection, buffer); buffer == nil {
			return nil, nil, false
		}
	}
	if length > 0 {
		asked.body = append([]byte(nil), buffer[begin:begin+length]...)
	}
	left := copy(buffer, buffer[begin+length:])
	return asked, buffer[:left], true
}

func more(connection net.Conn, buffer []byte) []byte {
	if len(buffer) == cap(buffer) {
		buffer = append(make([]byte, 0, 2*cap(buffer)), buffer...)
	}
	count, err := connection.Read(buffer[len(buffer):cap(buffer)])
	if count == 0 && (err != nil || err == io.EOF) {
		return nil
	}
	return buffer[:len(buffer)+count]
}

// head reads the first line and the few headers that matter.
func head(text []byte) (*request, int, bool) {
	first, rest, _ := bytes.Cut(text, []byte("\r\n"))
	words := bytes.SplitN(first, []byte(" "), 3)
	if len(words) != 3 {
		return nil, 0, false
	}
	path, query, _ := bytes.Cut(words[1], []byte("?"))
	asked := &request{method: string(words[0]), path: string(path), query: string(query)}
	asked.closes = string(words[2]) == "HTTP/1.0"
	length := 0
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch len(name) {
		case len("Connection"):
			if bytes.EqualFold(name, []byte("Connection")) {
				asked.closes = bytes.EqualFold(value, []byte("close"))
			}
		case len("Authorization"):
			if bytes.EqualFold(name, []byte("Authorization")) {
				asked.authorized = bytes.HasPrefix(value, []byte("Bearer "))
			}
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				number, err := strconv.Atoi(string(value))
				if err != nil || number < 0 {
					return nil, 0, false
				}
				length = number
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
				return nil, 0, false // nobody here sends chunks
			}
		}
	}
	return asked, length, true
}
