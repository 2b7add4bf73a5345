package main

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	jsonKind   = "application/json"
	jsonOfOurs = "application/json; of=bench" // answered at once, whatever the delay
	gifKind    = "image/gif"
	zone       = "2006-01-02 15:04:05 -0700"
)

var gif = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;")

type endUser struct {
	ID                int               `json:"id"`
	CreatedAt         string            `json:"created_at"`
	UpdatedAt         string            `json:"updated_at"`
	Email             *string           `json:"email"`
	ExternalID        *string           `json:"external_id"`
	PhoneNumber       *string           `json:"phone_number"`
	ExternalCreatedAt *int              `json:"external_created_at"`
	Properties        map[string]string `json:"properties"`
	responses         []*survey
	declines          []*survey
}

type survey struct {
	ID        int     `json:"id"`
	EndUserID int     `json:"end_user_id"`
	CreatedAt string  `json:"created_at"`
	UpdatedAt string  `json:"updated_at"`
	Score     *int    `json:"score,omitempty"`
	Text      *string `json:"text,omitempty"`
	IPAddress *string `json:"ip_address,omitempty"`
	OriginURL *string `json:"origin_url,omitempty"`
}

// world is all that one account holds. One lock is enough for one core.
type world struct {
	lock    sync.Mutex
	watch   *watch
	counts  map[string]int
	users   map[int]*endUser
	by      map[string]map[string]*endUser
	lastID  int
	surveys map[string]int
}

func newWorld(journals bool) *world {
	return &world{
		watch:   newWatch(journals),
		counts:  map[string]int{},
		users:   map[int]*endUser{},
		by:      map[string]map[string]*endUser{"email": {}, "external_id": {}, "phone_number": {}},
		surveys: map[string]int{"responses": 0, "declines": 0},
	}
}

func (w *world) answer(asked *request) reply {
	w.lock.Lock()
	defer w.lock.Unlock()
	switch {
	case strings.HasPrefix(asked.path, "/_bench/"):
		return w.told(asked)
	case asked.path == "/pixel.gif":
		return w.pixel(asked)
	case asked.path == "/oauth/token":
		w.counts["token"]++
		return of(200, map[string]any{"access_token": "bench", "token_type": "Bearer", "expires_in": 7200})
	case !strings.HasPrefix(asked.path, "/v1/end_users"):
		return absent()
	case !asked.authorized:
		w.counts["unauthorized"]++
		return of(401, map[string]string{"error": "The access token is invalid"})
	}
	segments := strings.Split(strings.Trim(asked.path[len("/v1/end_users"):], "/"), "/")
	if segments[0] == "" {
		segments = nil
	}
	return w.api(asked, segments)
}

func (w *world) api(asked *request, segments []string) reply {
	query, _ := url.ParseQuery(asked.query)
	switch {
	case len(segments) == 0 && asked.method == "POST":
		return w.create(asked)
	case len(segments) == 0:
		return w.list(query)
	case segments[0] == "phone_number" && len(segments) == 2:
		return w.find("phone_number", segments[1])
	case len(segments) == 1 && query.Get("lookup_by_external_id") == "true":
		return w.find("external_id", segments[0])
	}
	id, _ := strconv.Atoi(segments[0])
	user := w.users[id]
	if user == nil {
		return absent()
	}
	switch {
	case len(segments) == 1 && asked.method == "GET":
		w.counts["find_end_user"]++
		return of(200, user)
	case len(segments) == 1 && asked.method == "PUT":
		return w.update(user, asked)
	case len(segments) == 1 && asked.method == "DELETE":
		return w.remove(user)
	case len(segments) == 2 && (segments[1] == "responses" || segments[1] == "declines"):
		return w.survey(user, segments[1], asked, query)
	}
	return absent()
}

func (w *world) pixel(asked *request) reply {
	w.counts["page_view"]++
	email, page := "", ""
	given := asked.query
	if asked.method == "POST" {
		given = string(asked.body) // other tools' way
	}
	for _, pair := range strings.Split(given, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "email":
			email, _ = url.QueryUnescape(value)
		case "url":
			page, _ = url.QueryUnescape(value)
		}
	}
	w.watch.saw("pixel ", email, page, false)
	return reply{200, gifKind, gif}
}

func (w *world) list(query url.Values) reply {
	w.counts["find_end_user"]++
	found := []*endUser{}
	if user := w.by["email"][strings.ToLower(query.Get("email"))]; user != nil {
		found = append(found, user)
	}
	return of(200, found)
}

func (w *world) find(field, segment string) reply {
	w.counts["find_end_user"]++
	value, _ := url.PathUnescape(segment)
	if user := w.by[field][value]; user != nil {
		return of(200, user)
	}
	return absent()
}

func (w *world) create(asked *request) reply {
	w.counts["create_end_user"]++
	given := form(asked)
	if answer, taken := w.taken(given, nil); taken {
		return answer
	}
	w.lastID++
	now := time.Now().Format(zone)
	user := &endUser{ID: w.lastID, CreatedAt: now, UpdatedAt: now, Properties: map[string]string{}}
	w.users[user.ID] = user
	w.change(user, given)
	return of(201, user)
}

func (w *world) update(user *endUser, asked *request) reply {
	w.counts["update_end_user"]++
	given := form(asked)
	if answer, taken := w.taken(given, user); taken {
		return answer
	}
	user.UpdatedAt = time.Now().Format(zone)
	w.change(user, given)
	return of(200, user)
}

func (w *world) remove(user *endUser) reply {
	w.counts["delete_end_user"]++
	delete(w.users, user.ID)
	for field, value := range map[string]*string{
		"email": user.Email, "external_id": user.ExternalID, "phone_number": user.PhoneNumber,
	} {
		if value != nil {
			delete(w.by[field], folded(field, *value))
		}
	}
	return of(202, user)
}

// taken refuses an identity that another end user holds.
func (w *world) taken(given url.Values, but *endUser) (reply, bool) {
	for _, field := range []string{"email", "external_id"} {
		value := given.Get(field)
		if holder := w.by[field][folded(field, value)]; value != "" && holder != nil && holder != but {
			w.counts["refused"]++
			name := strings.ToUpper(field[:1]) + strings.ReplaceAll(field[1:], "_", " ")
			return of(400, map[string]string{"error": "Validation failed: " + name + " has already been taken"}), true
		}
	}
	return reply{}, false
}

func (w *world) change(user *endUser, given url.Values) {
	number := ""
	for name, values := range given {
		value := values[0]
		switch name {
		case "email":
			w.identify(user, name, &user.Email, value)
		case "external_id":
			w.identify(user, name, &user.ExternalID, value)
		case "phone_number":
			w.identify(user, name, &user.PhoneNumber, value)
		case "external_created_at":
			if at, err := strconv.Atoi(value); err == nil {
				user.ExternalCreatedAt = &at
			}
		default:
			key, ok := property(name)
			if !ok {
				continue
			}
			user.Properties[key] = value
			if strings.HasPrefix(value, numberMark) {
				number = value
			}
		}
	}
	w.watch.saw("API ", strconv.Itoa(user.ID), number, true)
}

func (w *world) identify(user *endUser, field string, held **string, value string) {
	if *held != nil {
		delete(w.by[field], folded(field, **held))
	}
	*held = &value
	w.by[field][folded(field, value)] = user
}

func (w *world) survey(user *endUser, kind string, asked *request, query url.Values) reply {
	held := &user.responses
	if kind == "declines" {
		held = &user.declines
	}
	if asked.method == "GET" {
		w.counts["list_"+kind]++
		page, _ := strconv.Atoi(query.Get("page"))
		size, _ := strconv.Atoi(query.Get("per_page"))
		first := min(max(0, page-1)*size, len(*held))
		return of(200, (*held)[first:min(first+size, len(*held))])
	}
	w.counts[kind]++
	given := form(asked)
	w.surveys[kind]++
	created := time.Now()
	if at, err := strconv.Atoi(given.Get("created_at")); err == nil {
		created = time.Unix(int64(at), 0)
	}
	made := &survey{ID: w.surveys[kind], EndUserID: user.ID, CreatedAt: created.Format(zone)}
	made.UpdatedAt = time.Now().Format(zone)
	if score, err := strconv.Atoi(given.Get("score")); err == nil {
		made.Score = &score
	}
	made.Text, made.IPAddress = optional(given, "text"), optional(given, "ip_address")
	made.OriginURL = optional(given, "origin_url")
	*held = append(*held, made)
	for name, values := range given {
		if key, ok := property(name); ok {
			user.Properties[key] = values[0]
		}
	}
	// A survey's number has to follow those of the profiles before it; twice it is a duplicate.
	w.watch.saw("API ", strconv.Itoa(user.ID), given.Get("origin_url"), false)
	return of(201, made)
}

// told answers who runs the benchmark.
func (w *world) told(asked *request) reply {
	query, _ := url.ParseQuery(asked.query)
	var value any
	switch asked.path {
	case "/_bench/counts":
		value = w.totals()
	case "/_bench/latency":
		value = w.watch.latency()
	case "/_bench/arrivals":
		after, _ := strconv.ParseFloat(query.Get("after"), 64)
		value = w.watch.arrivals(after)
	default:
		return absent()
	}
	answer := of(200, value)
	answer.kind = jsonOfOurs
	return answer
}

func (w *world) totals() map[string]any {
	api := 0
	for name, count := range w.counts {
		if name != "page_view" && name != "token" && name != "unauthorized" && name != "refused" {
			api += count
		}
	}
	return map[string]any{
		"requests":         api + w.counts["page_view"],
		"api_requests":     api,
		"by_operation":     w.counts,
		"end_users":        len(w.users),
		"order_violations": w.watch.violations,
		"duplicates":       w.watch.duplicates,
		"examples":         w.watch.examples,
	}
}

func form(asked *request) url.Values {
	given, _ := url.ParseQuery(string(asked.body))
	return given
}

// property returns the name within `properties[...]`.
func property(name string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "end_user["), "properties")
	if !ok {
		return "", false
	}
	return strings.Trim(rest, "[]"), true
}

func optional(given url.Values, name string) *string {
	if value := given.Get(name); value != "" {
		return &value
	}
	return nil
}

func folded(field, value string) string {
	if field == "email" {
		return strings.ToLower(value)
	}
	return value
}

func of(status int, value any) reply {
	body, err := json.Marshal(value)
	if err != nil {
		return reply{500, jsonKind, nil}
	}
	return reply{status, jsonKind, body}
}

func absent() reply {
	return of(404, map[string]any{"type": "error_list", "errors": []map[string]any{
		{"status": "record_not_found", "message": "The record could not be found", "field": nil},
	}})
}
