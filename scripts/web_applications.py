"""Serves real applications with `gort serve` and asks them, as clients do: Flask, Django by its tutorial, FastAPI with a
pool of database connections, a chat over websockets.

    make test-applications [ARGS='flask django-wsgi django-asgi fastapi chat']

makes an environment for it; without make, `pip install --group applications '.[http]'`, and run this file.
Prints a line for each, and ends with status 1 where something is not as it should be.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

FLASK = """
import io, time
from flask import Flask, Response, abort, request, send_file, session, stream_with_context
app = Flask(__name__)
app.secret_key = "x"

@app.get("/")
def index():
    session["seen"] = session.get("seen", 0) + 1
    return {"seen": session["seen"], "agent": request.headers.get("User-Agent", "")}

@app.post("/upload")
def upload():
    f = request.files["file"]
    data = f.read()
    return {"name": f.filename, "size": len(data), "field": request.form["field"]}

@app.get("/stream")
def stream():
    def parts():
        for i in range(100):
            yield f"{i},{request.args['q']};"
    return Response(stream_with_context(parts()))

@app.get("/file")
def file():
    return send_file(__file__, download_name="a.py", conditional=True)

@app.get("/missing")
def missing():
    abort(404)

@app.get("/fails")
def fails():
    raise ValueError("a view's own")

@app.get("/slow")
def slow():
    time.sleep(0.5)
    return "slow"
"""

# Django's tutorial (https://docs.djangoproject.com/en/stable/intro/tutorial01/), parts 1 to 4 and 7, in one file.
DJANGO = '''
import os, sys, django
from django.conf import settings
if not settings.configured:
    settings.configure(
        DEBUG=False, SECRET_KEY="x", ROOT_URLCONF="polls", ALLOWED_HOSTS=["*"], USE_TZ=True,
        INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                        "django.contrib.sessions", "django.contrib.messages"],
        MIDDLEWARE=["django.middleware.security.SecurityMiddleware",
                    "django.contrib.sessions.middleware.SessionMiddleware",
                    "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
                    "django.contrib.auth.middleware.AuthenticationMiddleware",
                    "django.contrib.messages.middleware.MessageMiddleware"],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                    "OPTIONS": {"context_processors": ["django.template.context_processors.request",
                                                       "django.contrib.auth.context_processors.auth",
                                                       "django.contrib.messages.context_processors.messages"]}}],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["POLLS_DB"],
                               "OPTIONS": {"timeout": 60}}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
    django.setup()
import time
from django.contrib import admin
from django.db import models
from django.db.models import F
from django.http import HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template import Context, Engine, RequestContext
from django.urls import path, reverse
from django.utils import timezone

class Question(models.Model):
    question_text = models.CharField(max_length=200)
    pub_date = models.DateTimeField("date published")
    class Meta:
        app_label = "polls"

class Choice(models.Model):
    question = models.ForeignKey(Question, on_delete=models.CASCADE)
    choice_text = models.CharField(max_length=200)
    votes = models.IntegerField(default=0)
    class Meta:
        app_label = "polls"

FORM = Engine().from_string("""<form method="post" action="vote/">{% csrf_token %}{% for c in choices %}
<input type="radio" name="choice" value="{{ c.id }}">{{ c.choice_text }}{% endfor %}</form>""")

def index(request):
    latest = Question.objects.order_by("-pub_date")[:5]
    return HttpResponse("; ".join(q.question_text for q in latest))

def detail(request, question_id):
    question = get_object_or_404(Question, pk=question_id)
    from django.template.context_processors import csrf
    return HttpResponse(FORM.render(Context({"choices": question.choice_set.all(), **csrf(request)})))

def results(request, question_id):
    question = get_object_or_404(Question, pk=question_id)
    return HttpResponse(", ".join(f"{c.choice_text}: {c.votes}" for c in question.choice_set.order_by("id")))

def vote(request, question_id):
    question = get_object_or_404(Question, pk=question_id)
    chosen = question.choice_set.get(pk=request.POST["choice"])
    question.choice_set.filter(pk=chosen.pk).update(votes=F("votes") + 1)
    return HttpResponseRedirect(reverse("results", args=(question.id,)))

def stream(request):
    return StreamingHttpResponse(f"{q.question_text}\\n" for q in Question.objects.iterator(chunk_size=1))

def slow(request):
    time.sleep(0.5)
    return HttpResponse("slow")

urlpatterns = [
    path("polls/", index), path("polls/<int:question_id>/", detail), path("polls/<int:question_id>/results/", results,
    name="results"), path("polls/<int:question_id>/vote/", vote), path("admin/", admin.site.urls), path("slow/", slow),
    path("stream/", stream)]

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
application, asgi = get_wsgi_application(), get_asgi_application()

def prepare():
    from django.core.management import call_command
    from django.db import connection
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Question)
        editor.create_model(Choice)
    q = Question.objects.create(question_text="What's up?", pub_date=timezone.now())
    for text in ("Not much", "The sky"):
        q.choice_set.create(choice_text=text)
    from django.contrib.auth.models import User
    User.objects.create_superuser("admin", "a@example.org", "secret")
'''

FASTAPI = """
import asyncio, time
from contextlib import asynccontextmanager
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, UploadFile
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
import os
done = []

@asynccontextmanager
async def lifespan(app):
    engine = create_async_engine("sqlite+aiosqlite:///" + os.environ["SHOP_DB"], pool_size=5, max_overflow=0)
    async with engine.begin() as c:
        await c.execute(text("create table item (id integer primary key, name text, price real)"))
    yield {"engine": engine}
    await engine.dispose()

app = FastAPI(lifespan=lifespan)

async def database(request: Request):
    async with request.state.engine.begin() as connection:
        yield connection

class Item(BaseModel):
    name: str
    price: float

@app.post("/items", status_code=201)
async def create(item: Item, later: BackgroundTasks, db=Depends(database)):
    made = (await db.execute(text("insert into item (name, price) values (:name, :price) returning id"),
                             item.model_dump())).scalar()
    later.add_task(done.append, made)
    return {"id": made, **item.model_dump()}

@app.get("/items/{item_id}")
async def read(item_id: int, db=Depends(database)):
    row = (await db.execute(text("select name, price from item where id = :id"), {"id": item_id})).first()
    if row is None:
        raise HTTPException(404, "no such item")
    return {"name": row.name, "price": row.price}

@app.get("/done")
async def what_was_done():
    return sorted(done)

@app.post("/upload")
async def upload(file: UploadFile):
    return {"size": len(await file.read())}

@app.get("/stream")
async def stream():
    async def parts():
        for i in range(50):
            await asyncio.sleep(0)
            yield f"{i};"
    return StreamingResponse(parts())

@app.get("/file")
async def file():
    return FileResponse(__file__)

@app.get("/slow")
def slow():
    time.sleep(0.5)
    return "slow"
"""

CHAT = """
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
here = {}

async def chat(ws: WebSocket):
    name = ws.path_params["name"]
    if name in here:
        await ws.close(4009, "taken")
        return
    await ws.accept()
    here[name] = ws
    try:
        while True:
            said = await ws.receive_text()
            for other in list(here.values()):
                await other.send_json({"from": name, "said": said})
    except WebSocketDisconnect:
        pass
    finally:
        del here[name]

app = Starlette(routes=[WebSocketRoute("/{name}", chat)])
"""


@contextmanager
def served(folder: Path, target: str, source: str, **env: str) -> Iterator[str]:
    """The application, served by a process of its own: its address.  The process must end with status 0."""
    import os

    module = target.partition(":")[0]
    (folder / f"{module}.py").write_text(source)
    args = [sys.executable, "-m", "gort", "serve", target, "-b", "127.0.0.1:0", "--app-dir", str(folder)]
    with (folder / "errors").open("w+") as errors:
        child = subprocess.Popen(args, cwd=folder, env={**os.environ, **env}, stderr=errors)
        try:
            end = time.monotonic() + 60
            while not (found := re.search(r"http://(\S+)", (folder / "errors").read_text())):
                if child.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((folder / "errors").read_text())
                time.sleep(0.05)
            yield found[1]
            child.terminate()
            assert child.wait(60) == 0
        finally:
            child.kill()
            child.wait()
            unexpected = [t for t in (folder / "errors").read_text().splitlines() if "gort.http" in t]
            assert unexpected == [], (folder / "errors").read_text()


def side_by_side(url: str, n: int = 40) -> None:
    """n clients of a view that sleeps for half a second are answered together."""
    begun = time.monotonic()
    with ThreadPoolExecutor(n) as pool:
        for answer in pool.map(lambda _: httpx.get(url, timeout=60), range(n)):
            assert answer.status_code == 200, answer
    assert time.monotonic() - begun < n * 0.5 / 2, "one after the other"


def flask(folder: Path) -> None:
    """Sessions, uploads, streams, files with ranges, errors, views that block."""
    with served(folder, "shop:app", FLASK) as address, httpx.Client(base_url=f"http://{address}") as c:
        assert [c.get("/").json()["seen"] for _ in range(3)] == [1, 2, 3]
        got = c.post("/upload", data={"field": "ä"}, files={"file": ("x.bin", b"z" * 5_000_000)}).json()
        assert got == {"name": "x.bin", "size": 5_000_000, "field": "ä"}
        assert c.get("/stream", params={"q": "€"}).text == "".join(f"{i},€;" for i in range(100))
        source = (folder / "shop.py").read_bytes()
        assert c.get("/file").content == source
        part = c.get("/file", headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, source[5:10])
        assert c.head("/file").headers["content-length"] == str(len(source))
        assert [c.get(p).status_code for p in ("/missing", "/nothing", "/fails")] == [404, 404, 500]
        side_by_side(f"http://{address}/slow")


def _django(folder: Path, target: str) -> None:
    import os

    database = {"POLLS_DB": str(folder / "db.sqlite3")}
    (folder / "polls.py").write_text(DJANGO)
    prepare = [sys.executable, "-c", "import polls; polls.prepare()"]
    subprocess.run(prepare, cwd=folder, env={**os.environ, **database}, check=True)
    with served(folder, target, DJANGO, **database) as address:
        url = f"http://{address}"
        with httpx.Client(base_url=url, follow_redirects=True) as c:
            assert c.get("/polls/").text == "What's up?"
            assert c.get("/stream/").text == "What's up?\n"
            assert c.get("/polls/99/").status_code == 404
            form = c.get("/polls/1/").text
            token = re.search('csrfmiddlewaretoken" value="([^"]+)', form)
            assert token
            assert c.post("/polls/1/vote/", data={"choice": "2"}).status_code == 403  # no token
            voted = c.post("/polls/1/vote/", data={"choice": "2", "csrfmiddlewaretoken": token[1]})
            assert (voted.url.path, voted.text) == ("/polls/1/results/", "Not much: 0, The sky: 1")
            login = c.get("/admin/").text
            token = re.search('csrfmiddlewaretoken" value="([^"]+)', login)
            assert token
            data = {"username": "admin", "password": "secret", "csrfmiddlewaretoken": token[1], "next": "/admin/"}
            assert "Site administration" in c.post("/admin/login/", data=data).text

        def vote(_: int) -> int:
            with httpx.Client(base_url=url, follow_redirects=True, timeout=60) as c:
                token = re.search('csrfmiddlewaretoken" value="([^"]+)', c.get("/polls/1/").text)
                assert token
                data = {"choice": "1", "csrfmiddlewaretoken": token[1]}
                return c.post("/polls/1/vote/", data=data).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(vote, range(40))) == {200}
        assert httpx.get(f"{url}/polls/1/results/").text == "Not much: 40, The sky: 1"
        if target.endswith("application"):
            side_by_side(f"{url}/slow/")


def django_wsgi(folder: Path) -> None:
    """The tutorial's polls and the admin, by WSGI; forty votes from eight clients."""
    _django(folder, "polls:application")


def django_asgi(folder: Path) -> None:
    """The same by ASGI."""
    _django(folder, "polls:asgi")


def fastapi(folder: Path) -> None:
    """A pool of five connections and two hundred clients, background tasks, uploads, streams, files, `def` views."""

    async def clients(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as c:
            made = await asyncio.gather(
                *(c.post("/items", json={"name": f"n{i}", "price": i / 2}) for i in range(200)),
            )
            assert {m.status_code for m in made} == {201}
            items = {m.json()["id"]: m.json() for m in made}
            assert len(items) == 200
            read = await asyncio.gather(*(c.get(f"/items/{i}") for i in items))
            assert [(r.json()["name"], r.json()["price"]) for r in read] == [
                (item["name"], item["price"]) for item in items.values()
            ]
            assert (await c.get("/items/9999")).json() == {"detail": "no such item"}
            assert (await c.post("/items", json={"name": "x"})).status_code == 422
            assert len((await c.get("/done")).json()) == 200
            assert (await c.post("/upload", files={"file": b"z" * 3_000_000})).json() == {"size": 3_000_000}
            assert (await c.get("/stream")).text == "".join(f"{i};" for i in range(50))
            assert (await c.get("/file")).content == (folder / "api.py").read_bytes()

    with served(folder, "api:app", FASTAPI, SHOP_DB=str(folder / "db.sqlite3")) as address:
        asyncio.run(clients(f"http://{address}"))
        side_by_side(f"http://{address}/slow")


def chat(folder: Path) -> None:
    """Twenty people who all hear what each says, by the websockets library."""
    import websockets

    async def people(url: str) -> None:
        there = [await websockets.connect(f"{url}/{i}") for i in range(20)]
        taken = await asyncio.gather(websockets.connect(f"{url}/3"), return_exceptions=True)
        assert isinstance(taken[0], websockets.InvalidStatus)
        assert taken[0].response.status_code == 403
        for i, ws in enumerate(there):
            await ws.send(f"hello from {i} " + "ä" * 1000 * i)
        for ws in there:
            heard = [await ws.recv() for _ in there]
            assert len(set(heard)) == 20
        for ws in there:
            await ws.close()
        again = await websockets.connect(f"{url}/3")
        await again.close()

    with served(folder, "room:app", CHAT) as address:
        asyncio.run(people(f"ws://{address}"))


ALL: dict[str, Callable[[Path], None]] = {
    "flask": flask,
    "django-wsgi": django_wsgi,
    "django-asgi": django_asgi,
    "fastapi": fastapi,
    "chat": chat,
}


def main(names: list[str]) -> int:
    """Runs those that are named, or all."""
    failed: list[Any] = []
    for name in names or ALL:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                ALL[name](Path(folder))
            except Exception:
                traceback.print_exc()
                failed.append(name)
        print(f"{name:12} {'FAILED' if name in failed else 'good'}  {time.monotonic() - begun:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
