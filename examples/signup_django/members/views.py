from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from glimr_session.django import SessionStore

from .forms import SignUp


class Request(HttpRequest):
    """What the middleware has made of a request; for type checkers."""

    session: SessionStore
    user: User


@require_GET
def home(request: Request) -> HttpResponse:
    return render(request, "members/home.html")


@require_POST
def take_ticket(request: Request) -> HttpResponse:
    request.session.increment("tickets")  # requests at the same time add up
    return redirect("home")


def sign_up(request: Request) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect("home")
    if request.method != "POST":
        return render(request, "members/signup.html", {"form": SignUp.again(request.session)})
    form = SignUp(request.POST)
    if errors := form.errors:
        request.session.flash_errors(errors)
        request.session.flash_old(request.POST)  # not the password, which is never sent back
        return redirect("sign_up")  # so that a reload does not send the form again
    user = form.save()
    login(request, user)
    messages.success(request, f"Welcome, {user.first_name}!")
    return redirect("home")


@require_POST
def log_out(request: Request) -> HttpResponse:
    logout(request)
    messages.success(request, "You are signed out.")
    return redirect("home")
