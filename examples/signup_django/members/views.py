from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from .forms import SignUp


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "members/home.html")


@require_POST
def take_ticket(request: HttpRequest) -> HttpResponse:
    request.session["tickets"] = request.session.get("tickets", 0) + 1
    return redirect("home")


@require_http_methods(["GET", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect("home")
    form = SignUp(request.POST or None)
    if not form.is_valid():
        return render(request, "members/signup.html", {"form": form})
    user = form.save()
    login(request, user)
    messages.success(request, f"Welcome, {user.first_name}!")
    return redirect("home")


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    messages.success(request, "You are signed out.")
    return redirect("home")
